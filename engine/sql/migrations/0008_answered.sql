-- When the prospect first heard from the rep after the introduction.
ALTER TABLE referral ADD COLUMN answered_at BIGINT;
UPDATE referral SET answered_at = contacted_at WHERE introduced_at IS NOT NULL AND contacted_at >= introduced_at;
CREATE INDEX referral_introduced ON referral (introduced_at) WHERE introduced_at IS NOT NULL;
