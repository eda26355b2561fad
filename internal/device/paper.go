// CLAIMED since 21:50 by the author of this file: BindPaper and ConfirmPaper. The author of
// contacts.go, invite.go, inbox.go and keep.go goes on with those (Invite, Accept, Confirm, Rebind, exchange), and leaves these
// functions out.
package device
