package server

import "zeropass.dev/zeropass/ledger"

// OpenEncrypted opens what stands encrypted in a store.
var OpenEncrypted = openEncrypted

// Hint wakes the streams of an account.
func (s *Server) Hint(account ledger.AccountID) { s.hub.hint(account, everyKind) }

// ShowRecoveries makes the server show at most so many bytes of recoveries.
func (s *Server) ShowRecoveries(size int) { s.shown = size }

// Remember makes the server keep folded ledgers of so many bytes of entries, and
// summaries of so many bytes.
func (s *Server) Remember(folded, summaries int64) {
	s.states.mostFolded, s.states.mostSummaries = folded, summaries
}

// Remembers says whether the server has a folded ledger, and a summary, in memory.
func (s *Server) Remembers(account ledger.AccountID) (folded, summary bool) {
	s.states.mu.Lock()
	defer s.states.mu.Unlock()
	k, ok := s.states.byID[account]
	return ok && k.state != nil, ok && k.summary != nil
}

// NoteVerified returns what servers with these keys have beside a head that they have
// verified, under a version of the ledger's rules.
func NoteVerified(keys *Keys, rules uint64, id ledger.AccountID, head ledger.Head) [32]byte {
	v, err := newVerifiedHeads(keys)
	if err != nil {
		panic(err)
	}
	return v.noteOf(rules, id, head)
}
