package server

import "zeropass.dev/zeropass/ledger"

// OpenEncrypted opens what stands encrypted in a store.
var OpenEncrypted = openEncrypted

// Hint wakes the streams of an account.
func (s *Server) Hint(account ledger.AccountID) { s.hub.hint(account, everyKind) }

// ShowRecoveries makes the server show at most so many bytes of recoveries.
func (s *Server) ShowRecoveries(size int) { s.shown = size }

// NoteVerified returns what servers with these keys have beside a head that they have
// verified, under a version of the ledger's rules.
func NoteVerified(keys *Keys, rules uint64, id ledger.AccountID, head ledger.Head) [32]byte {
	v, err := newVerifiedHeads(keys)
	if err != nil {
		panic(err)
	}
	return v.noteOf(rules, id, head)
}
