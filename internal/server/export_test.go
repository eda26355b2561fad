package server

import "zeropass.dev/zeropass/ledger"

// OpenEncrypted opens what stands encrypted in a store.
var OpenEncrypted = openEncrypted

// Hint wakes the streams of an account.
func (s *Server) Hint(account ledger.AccountID) { s.hub.hint(account, everyKind) }

// ShowRecoveries makes the server show at most so many bytes of recoveries.
func (s *Server) ShowRecoveries(size int) { s.shown = size }
