package server

import (
	"crypto/sha256"

	"zeropass.dev/zeropass/internal/api"
)

// Registration is who may make an account.
type Registration int

// Open for everybody, with a token of the operator's, or for nobody. An account
// that this server has had before, and lacks since its data were restored, comes
// back whatever it says.
const (
	RegistrationOpen Registration = iota
	RegistrationToken
	RegistrationClosed
)

// TokenHash is what a store knows of a token.
func TokenHash(token []byte) [32]byte { return sha256.Sum256(token) }

// Accounts that one address may make where everybody may: as many as an office does
// in a day, and not as many as a program.
const (
	createRate  = 60.0 / 3600
	createBurst = 60
)

// register returns the hash of the token that a new account takes, nil where it
// takes none.
func (s *Server) register(a *asked, token []byte) (*[32]byte, error) {
	switch s.registration {
	case RegistrationOpen:
		if wait := s.founders.wait(a.remote, a.now); wait > 0 {
			refusal := api.Refuse(api.ErrRateLimited, "too many accounts were made from this address; wait, or ask from another network")
			refusal.RetryAfter = wait
			return nil, refusal
		}
		return nil, nil
	case RegistrationToken:
		if len(token) != api.TokenSize {
			return nil, api.Refuse(api.ErrRegistrationClosed, "it takes a token; ask whoever runs the server for one")
		}
		hash := TokenHash(token)
		return &hash, nil
	}
	return nil, api.Refuse(api.ErrRegistrationClosed, "ask whoever runs the server")
}
