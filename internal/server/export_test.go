package server

// OpenEncrypted opens what stands encrypted in a store.
var OpenEncrypted = openEncrypted

// ShowRecoveries makes the server show at most so many bytes of recoveries.
func (s *Server) ShowRecoveries(size int) { s.shown = size }
