"""What every verb works on: the configuration, the store, the library that was applied last, and the installation's key."""

from __future__ import annotations

from dataclasses import dataclass

from engine.config import Config, Mailbox
from engine.core.calendar import Place
from engine.core.model import Contact
from engine.errors import UserError
from engine.library import Library
from engine.store import Store


@dataclass(frozen=True)
class Installation:
    """One per thread, since a store belongs to one; everything else in it is shared and never changes."""

    config: Config
    store: Store
    library: Library
    key: bytes

    def rep(self, address: str) -> Mailbox:
        """The mailbox of that address. Raises UserError when the config has it no longer."""
        mailbox = self.config.mailbox(address)
        if mailbox is None:
            raise UserError(f"{address} is no mailbox of the config", remedy="add it under mailboxes: in config.yaml")
        return mailbox

    def place(self, contact: Contact | None, rep: str) -> Place:
        """Where somebody is: what is known of them, else where their rep is."""
        home = self.config.place(self.rep(rep))
        if contact is None or not (contact.zone or contact.country):
            return home
        return Place(contact.zone or home.zone, contact.country or home.country, contact.subdivision)
