-- The steps of an enrollment that do not come again by themselves, whatever is edited.
ALTER TABLE enrollment ADD COLUMN passed TEXT NOT NULL DEFAULT '[]';
