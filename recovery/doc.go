// Package recovery brings an account back from its shares, with the server or
// without it.
//
// It needs no network, and decides nothing that a ledger does not prove: every
// share is compared with the account's ledger, every rebuilt seed with the
// epoch's root key, and every secret with its record.
//
// # Without the server
//
// A device's directory, its passphrase, and a quorum's words are enough:
//
//	h, _ := home.OpenReadOnly(dir)
//	_ = h.Unlock(passphrase)
//	device, _ := recovery.FromHome(h)
//	state := device.State()
//	share, _ := recovery.ParseShare(text)           // of each contact
//	place, _ := recovery.Identify(share, state)     // whose it is, and in which epoch
//	own, _ := device.SeedShare(place.Epoch)
//	keys, report, _ := recovery.Rebuild(append(shares, own), state, place.Epoch)
//	backup := recovery.NewBackup(state, place.Epoch, keys)
//	opened, _ := recovery.Open(ctx, state, place.Epoch, device, backup)
//
// # With the server
//
// The new device makes a request with [NewRequest]. A contact's program compares
// it with the envelope of the share that it holds, [CheckRequest], waits until
// [DueAt], and answers with [Approve] and [SealShare]; paper and sheet approve
// where their words are typed, [ApproveOnPaper] and [ApproveWithSheet]. Once the
// server has released its part, the new device opens the contacts' shares with
// [OpenShare], stops where [CheckHeads] misses a part of the ledger, rebuilds
// the keys from contacts' and server's shares with [Rebuild], and opens
// everything with [Open] from a [Backup] and a [Released]. [RestoreDeviceShare]
// and [NewRecovered] make the record that hands the account to it.
//
// # Sources
//
// Two of three parties have a share of each secret that [Open] combines: a
// [Device], the server, whose released shares are a [Released], and the contacts,
// who rebuild the keys of a [Backup]. Any two of them open everything; a quorum
// is not needed where a device and the server work together.
//
// # Text
//
// A share is written as the words of its SLIP-39 mnemonic, in any case and
// separated by any white space. A QR code of a share holds the same words in
// upper case, [QRText], which QR codes store in their alphanumeric mode. A
// sheet's approval key is written as a SLIP-39 mnemonic of its own, of 33 words:
// the 32 bytes of the key as a set of one group of one member, with the
// extendable flag, iteration exponent 0, an empty passphrase, and the identifier
// of the sheet's share.
//
// # Secrets
//
// What this package makes on its way it erases. What it returns is the caller's:
// [seed.Keys], [slip39.Share], [Device], [Backup] and [Released] have a method
// Erase. They print as [secret]. Strings in messages cannot be erased.
package recovery
