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
// [Init] makes an account, [RecoverStart] a device that recovers one; both go on
// where they stopped when they are run again with the same directory. [Open]
// unlocks a directory once and does not need the server. [Options] has
// randomness, time, HTTP client, progress, and the function that asks for the
// confirm key's passphrase when an operation first needs it.
//
// # Secrets
//
// An [Item] is a slot's SlotMetadata and Secret. [Device.Add], [Device.Import]
// and [Device.Edit] seal it on the device before anything is sent, and keep it
// there until the ledger has it: without a server they say so, and the next
// [Device.Sync] sends it. [Device.Get] reveals one, [Device.Export] all.
// [Device.List] and [Device.Find] work without the server.
//
// # Devices
//
// [Join] makes a further device, which waits until [Device.ApproveDevice] on the
// account's devices has added it: both show two phrases, which a person compares.
// [Device.Devices] and [Device.JoiningDevices] list them; [Device.RenameDevice],
// [Device.LockDevice], [Device.UnlockDevice] and [Device.RevokeDevice] change one,
// and [Device.Suspects] says what a lost one could have seen.
//
// # Contacts
//
// [Device.Invite] makes the text for a contact, whose [Device.Accept] answers it.
// [Device.Confirm] binds a contact whose phrase was compared, either given as the
// eight words that the contact read out or approved by a callback that shows
// both phrases, and sends the share. What the owner calls a contact stands sealed in
// the ledger, for every device of the owner. [Device.BindPaper] and [Device.ConfirmPaper]
// do it with paper. [Device.Contacts] lists everybody, [Device.Held] shows the
// shares that are kept here for others, in words and as the text of a QR code.
//
// # Epochs
//
// [Device.Rotate] prepares a new epoch: a new Private Master Seed, every secret
// split again, the same contacts, another quorum or waiting period if asked for.
// [Device.Replace] does it without one contact. A [Device.Sync] commits it.
// [Device.Policy] and [Device.SetPolicy] are about how often secrets may be asked
// for.
//
// # Proof
//
// [Device.Sync] is the one operation that brings device, server and contacts
// together. [Device.Status], [Device.Contacts] and [Device.Activity] show what it
// brought and do not ask the server; [Device.VerifyLedger] checks everything
// anew. [Device.HeadText] and [Device.CompareHead] compare two devices without the
// server. [Device.FollowServer] is the owner's word, after a fork, that the server
// was restored from an older copy.
//
// # Recovery
//
// [Device.RecoverStatus], [Device.AddPaperShare] and [Device.RecoverFinish] are
// the new device's, [Device.Requests] and [Device.Veto] those of the account's
// other devices, [Device.Requests], [Device.Approve] and [Device.Deny] the
// contacts'. Requests are named by the first digits of their id. A finished
// recovery has prepared the next epoch with the same contacts; [Device.Rebind]
// takes over those that are missing.
//
// # Errors
//
// Every error for people is an [*Error]: a [Code] that the command line turns
// into its exit code, what happened, and what to do next.
package device
