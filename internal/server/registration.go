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

// register returns the hash of the token that a new account takes, nil where it
// takes none.
func (s *Server) register(token []byte) (*[32]byte, error) {
	switch s.registration {
	case RegistrationOpen:
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
