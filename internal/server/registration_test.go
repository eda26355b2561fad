package server_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net/http"
	"testing"
	"time"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/client"
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

// One address makes no accounts by the thousand, and keeps no other from making one.
func TestAFloodOfAccounts(t *testing.T) {
	w := newWorld(t)
	h := w.server.Handler()
	makes := func(address string) func() error {
		d := w.device()
		genesis := w.genesis(d, nil)
		c := must(client.New(&http.Client{Transport: from{h, address}}, w.http.URL, w.keys.SignKey(), rand.Reader, w.clock))
		return func() error {
			_, _, err := c.CreateAccount(t.Context(), api.Identity{Key: d.sign},
				&apiv1.CreateAccountRequest{Name: fmt.Sprintf("%x", d.sign.PublicKey().Bytes()[:8]), Entry: genesis.Bytes()})
			return err
		}
	}
	first := makes("198.51.100.7:1")
	w.ok(first())
	for range 59 {
		w.ok(makes("198.51.100.7:1")())
	}
	last := makes("198.51.100.7:1")
	if refusal := w.refused(last(), api.ErrRateLimited); refusal.RetryAfter <= 0 || refusal.RetryAfter > time.Minute {
		t.Errorf("retry after %v", refusal.RetryAfter)
	}
	w.ok(first()) // again, for an answer that got lost
	w.ok(makes("203.0.113.9:1")())
	w.wait(time.Minute)
	w.ok(last())
}
