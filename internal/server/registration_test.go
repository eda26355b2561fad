package server_test

import (
	"bytes"
	"crypto/rand"
	"testing"
	"time"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/server"
	"zeropass.dev/zeropass/internal/store"
)

// register asks for a new account and returns how to ask for it again.
func (w *world) register(name string, token []byte) func() error {
	d := w.device()
	genesis := w.genesis(d, nil)
	return func() error {
		_, _, err := w.client().CreateAccount(w.t.Context(), api.Identity{Key: d.sign},
			&apiv1.CreateAccountRequest{Name: name, Entry: genesis.Bytes(), Token: token})
		return err
	}
}

func TestRegistrationByToken(t *testing.T) {
	w := newWorld(t)
	w.ok(w.register("ada", nil)())
	w.configure = func(c *server.Config) { c.Registration = server.RegistrationToken }
	w.restart()
	token := make([]byte, api.TokenSize)
	_, _ = rand.Read(token)
	w.ok(w.store.AddToken(t.Context(), store.Token{
		Hash: server.TokenHash(token), Uses: 1, Created: w.clock(), Expires: w.clock().Add(time.Hour),
	}))
	w.refused(w.register("bob", nil)(), api.ErrRegistrationClosed)
	w.refused(w.register("bob", token[1:])(), api.ErrRegistrationClosed)
	w.refused(w.register("bob", make([]byte, api.TokenSize))(), api.ErrRegistrationClosed)
	bob := w.register("bob", token)
	w.ok(bob())
	w.ok(bob()) // an answer that got lost takes no second use
	w.refused(w.register("carol", token)(), api.ErrRegistrationClosed)
	if bytes.Contains(must(w.store.Tokens(t.Context()))[0].Hash[:], token) {
		t.Error("the store has the token")
	}
}

func TestRegistrationClosed(t *testing.T) {
	w := newWorld(t)
	w.configure = func(c *server.Config) { c.Registration = server.RegistrationClosed }
	w.restart()
	w.refused(w.register("ada", make([]byte, api.TokenSize))(), api.ErrRegistrationClosed)
}
