// Package device does everything that a person can ask of ZeroPass on one of
// their devices: one method of [Device], or one function, for each operation.
//
// It ties together the device's directory (package home), the account's ledger,
// and the server (package internal/client). It trusts nothing that it has not
// folded itself, and every step that changes something is journalled before it
// is sent: a device that is killed anywhere goes on when it is run again.
//
// # Starting
//
//	func Init(ctx context.Context, o Options, i InitOptions) (*Device, *InitResult, error)
//	func Open(ctx context.Context, dir string, passphrase []byte, o Options) (*Device, error)
//	func RecoverStart(ctx context.Context, o Options, r RecoverOptions) (*Device, *RecoveryResult, error)
//	func (d *Device) Close() error
//
// Options has randomness, time, HTTP client, progress, and the function that
// asks for the confirm key's passphrase when an operation needs it. Open unlocks
// the directory once; it does not need the server. Init and RecoverStart go on
// where they stopped when they are run again with the same directory.
//
// # Secrets
//
//	func (d *Device) Add(ctx context.Context, item Item) (*AddResult, error)
//	func (d *Device) Import(ctx context.Context, items []Item) (*ImportResult, error)
//	func (d *Device) List(query string) ([]Entry, error)
//	func (d *Device) Find(query string) (*Entry, error)
//	func (d *Device) Get(ctx context.Context, query string) (*Item, error)
//	func (d *Device) Export(ctx context.Context) ([]Item, error)
//	func (d *Device) Edit(ctx context.Context, id ledger.SlotID, item Item) (*AddResult, error)
//	func (d *Device) Delete(ctx context.Context, id ledger.SlotID) error
//
// An Item is a slot's SlotMetadata and Secret. List, Find and what they are
// looked up by work without the server. Find and Get take an id, the first
// digits of one, or words of title, user name and address that fit one slot
// alone. Add without a server keeps the item sealed on the device, says so
// (AddResult.Accepted is false), and the next Sync sends it.
//
// # Contacts
//
//	func (d *Device) Invite(ctx context.Context, label string) (*InviteResult, error)
//	func (d *Device) Accept(ctx context.Context, text string) (*AcceptResult, error)
//	func (d *Device) Confirm(ctx context.Context, c ConfirmOptions) (*ConfirmResult, error)
//	func (d *Device) Rebind(ctx context.Context) (*RebindResult, error)
//	func (d *Device) Contacts(ctx context.Context) (*ContactList, error)
//	func (d *Device) Held(ctx context.Context) ([]HeldShare, error)
//
// Invite returns the text for the contact. Accept is the contact's answer to it.
// Confirm binds a contact whose phrase was compared, either given as the eight
// words that the contact read out or approved by a callback that shows both
// phrases. Rebind binds the contacts of the epoch in use to the prepared one.
// Held shows the shares that are kept for others, in words and as the text of a
// QR code.
//
// # Proof
//
//	func (d *Device) Status(ctx context.Context) (*Status, error)
//	func (d *Device) Sync(ctx context.Context) (*SyncResult, error)
//	func (d *Device) VerifyLedger(ctx context.Context) (*VerifyResult, error)
//	func (d *Device) Activity(ctx context.Context) ([]ActivityEntry, error)
//	func (d *Device) FollowServer(ctx context.Context) (*FollowResult, error)
//
// Status and Activity show what the last Sync brought; they do not ask the
// server. FollowServer is the owner's word, after a fork, that the server was
// restored from an older copy.
//
// # Recovery
//
//	func (d *Device) RecoverStatus(ctx context.Context) (*RecoveryResult, error)
//	func (d *Device) AddPaperShare(ctx context.Context, words string) (*RecoveryResult, error)
//	func (d *Device) RecoverFinish(ctx context.Context, f FinishOptions) (*FinishResult, error)
//	func (d *Device) Requests(ctx context.Context) ([]RecoveryRequest, error)
//	func (d *Device) Approve(ctx context.Context, a ApproveOptions) (*ApproveResult, error)
//	func (d *Device) Deny(ctx context.Context, request string) error
//	func (d *Device) Veto(ctx context.Context, request string) error
//
// The first three are the new device's, Requests and Veto also those of the
// account's other devices, Approve and Deny the contacts'. Requests are named by
// the first digits of their id.
//
// # Errors
//
// Every error for people is an [*Error]: a [Code] that the command line turns
// into its exit code, what happened, and what to do next.
package device
