package server_test

import (
	"context"
	"testing"
	"time"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/internal/store/postgres"
	"zeropass.dev/zeropass/internal/store/postgres/postgrestest"
)

// Over PostgreSQL streams hear of what comes by another server, and of what the
// operator does; no stream asks for that by itself, and nothing goes on when the
// last has ended.
func TestStreamsOverPostgres(t *testing.T) {
	database := postgrestest.Start(t, postgrestest.Options{})
	shared := must(postgres.Open(t.Context(), postgres.Config{URL: database.URL(database.Database(t)), AllowLoss: true}))
	w := &world{wrap: func(s store.Store) store.Store {
		must(0, s.Close())
		return shared
	}}
	w.begin(t)
	owner, contacts := w.family()
	own, contact := owner.first().watches(), contacts[0].first().watches()
	stranger := w.create("stranger").first().watches()

	other := w.beside()
	half := func() {
		_, err := other.SeedHalf(t.Context(), owner.first().identity(), &apiv1.SeedHalfRequest{Nonce: nonce()})
		w.ok(err)
	}
	half()
	own.hears(apiv1.Hint_KIND_ACTIVITY)
	n := w.recover(owner)
	_, err := n.start()
	w.ok(err)
	own.hears(apiv1.Hint_KIND_RECOVERY)
	contact.hears(apiv1.Hint_KIND_RECOVERY)

	// A database that went away and came back.
	database.Crash()
	database.Run(t)
	half()
	own.hears(apiv1.Hint_KIND_ACTIVITY)
	select {
	case kind := <-stranger.hints:
		t.Errorf("a stranger heard %v", kind)
	default:
	}

	begun := time.Now()
	w.ok(shared.Lock(context.Background(), owner.id, w.clock()))
	w.refused(own.ends(), api.ErrAccountLocked)
	if took := time.Since(begun); took > patience/2 {
		t.Errorf("the stream of a locked account ended after %v", took)
	}
}
