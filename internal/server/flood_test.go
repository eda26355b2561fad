package server_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/client"
	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
)

// from brings requests to the server from an address.
type from struct {
	handler http.Handler
	address string
}

func (f from) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.RemoteAddr = f.address
	answer := httptest.NewRecorder()
	f.handler.ServeHTTP(answer, r)
	return answer.Result(), nil
}

// startFrom starts the recovery from an address.
func (n *newcomer) startFrom(h http.Handler, address string) error {
	c := must(client.New(&http.Client{Transport: from{h, address}}, n.w.http.URL, n.w.keys.SignKey(), rand.Reader, n.w.clock))
	_, err := c.StartRecovery(n.w.t.Context(), n.identity(), &apiv1.StartRecoveryRequest{Request: n.request.Bytes()})
	return err
}

// Whoever knows a name can ask for the account's recovery, but neither often, nor
// so that the owner's request is refused or displaced.
func TestAFloodOfRequestsDoesNotLockTheOwnerOut(t *testing.T) {
	w := newWorld(t)
	owner, contacts := w.family()
	h := w.server.Handler()
	early, late := w.recover(owner), w.recover(owner)
	w.ok(early.startFrom(h, "198.51.100.7:1"))

	const strangers = "[2001:db8:5::1]:1"
	for range 10 {
		w.ok(w.recover(owner).startFrom(h, strangers))
	}
	eager := w.recover(owner)
	if refusal := w.refused(eager.startFrom(h, strangers), api.ErrRateLimited); refusal.RetryAfter <= 0 || refusal.RetryAfter > time.Hour {
		t.Errorf("retry after %v", refusal.RetryAfter)
	}
	w.ok(early.startFrom(h, "198.51.100.7:2")) // again
	w.wait(time.Hour)
	w.ok(eager.startFrom(h, strangers))

	// From all parts of their network, more than are kept for an account.
	for i := range 300 {
		w.ok(w.recover(owner).startFrom(h, "[2001:db8:5:"+string("0123456789abcdef"[i%16])+string("0123456789abcdef"[i/16%16])+"::1]:1"))
		w.wait(time.Minute)
	}
	w.ok(late.startFrom(h, "203.0.113.9:1"))
	for range 10 {
		w.ok(w.recover(owner).startFrom(h, "[2001:db8:5:ffff::1]:1"))
	}
	all, err := w.client().Recoveries(t.Context(), contacts[0].first().identity())
	if w.ok(err); len(all) > 256 {
		t.Errorf("a contact sees %d requests", len(all))
	}
	for _, n := range []*newcomer{early, late} {
		w.ok(n.approve(contacts[0], 1))
		w.ok(n.approve(contacts[1], 2))
	}
	w.wait(waitingPeriod)
	w.ok(late.release())
	state, err := late.ledger()
	w.ok(err)
	w.ok(late.takeOver(late.recovered(state)))
}

// Whoever names a contact in accounts of his own, and floods those, hides no other
// owner's recovery from the contact, and makes no answer larger than can be sent.
func TestAFloodOfOwners(t *testing.T) {
	w := newWorld(t)
	owner, contacts := w.family()
	flooded := w.create("flooded")
	flooded.prepare(false)
	flooded.commit(contacts[:2]...)
	h := w.server.Handler()
	for i := range 20 {
		w.ok(w.recover(flooded).startFrom(h, fmt.Sprintf("198.51.100.%d:1", i)))
	}
	n := w.recover(owner)
	_, err := n.start()
	w.ok(err)
	w.server.ShowRecoveries(4 << 10)
	all, err := w.client().Recoveries(t.Context(), contacts[0].first().identity())
	if w.ok(err); len(all) < 2 || len(all) > 20 || string(all[0].Request) != string(n.request.Bytes()) {
		t.Errorf("the contact sees %d requests", len(all))
	}
}

// leaving is a store in which an account is deleted while somebody looks for it.
type leaving struct{ store.Store }

func (l leaving) Owners(ctx context.Context, contact ledger.AccountID) ([]ledger.AccountID, error) {
	owners, err := l.Store.Owners(ctx, contact)
	return append([]ledger.AccountID{ledger.AccountID(random(32))}, owners...), err
}

// A contact of an account that is deleted at that moment is not told that its own is
// unknown.
func TestRecoveriesWhileAnOwnerIsDeleted(t *testing.T) {
	w := newWorld(t)
	owner, contacts := w.family()
	_, err := w.recover(owner).start()
	w.ok(err)
	w.wrap = func(inner store.Store) store.Store { return leaving{inner} }
	w.restart()
	if all, err := w.client().Recoveries(t.Context(), contacts[0].first().identity()); err != nil || len(all) != 1 {
		t.Errorf("%d recoveries, %v", len(all), err)
	}
}
