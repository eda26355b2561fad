package server_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/server"
	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
)

// failing is a store that fails when told to.
type failing struct {
	store.Store
	mu  sync.Mutex
	how func() error // nil while it works
	// look fails what looks at an account; nil while that works.
	look func() error
}

func (f *failing) looking() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.look == nil {
		return nil
	}
	return f.look()
}

func (f *failing) fail(how func() error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.how = how
}

func (f *failing) failure() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.how == nil {
		return nil
	}
	return f.how()
}

func (f *failing) Append(ctx context.Context, a store.Append) error {
	if err := f.failure(); err != nil {
		return err
	}
	return f.Store.Append(ctx, a)
}

func (f *failing) Log(ctx context.Context, a store.Answer) error {
	if err := f.failure(); err != nil {
		return err
	}
	return f.Store.Log(ctx, a)
}

func (f *failing) Account(ctx context.Context, id ledger.AccountID) (store.Account, error) {
	if err := f.looking(); err != nil {
		return store.Account{}, err
	}
	return f.Store.Account(ctx, id)
}

// What did not become durable is not said to be done, and is not given away.
func TestStoreFails(t *testing.T) {
	w := newWorld(t)
	broken := &failing{}
	w.wrap = func(s store.Store) store.Store { broken.Store = s; return broken }
	w.restart()
	owner, _ := w.family()
	owner.store(1, 1, "secret")
	d := owner.device(1)
	head := owner.state.Head()
	records, shares := owner.put(2, 1, "another")
	entry := []*ledger.Entry{owner.draft(d, records...)}

	broken.fail(func() error { return errors.New("disk full on /var/lib/somewhere") })
	refusal := w.refused(owner.send(d, entry, shares), api.ErrUnavailable)
	if strings.Contains(refusal.Message, "/var") {
		t.Errorf("the refusal tells %q", refusal.Message)
	}
	_, err := owner.reveal(d, owner.version(1, 1), d.confirms(byConfirm))
	w.refused(err, api.ErrUnavailable)
	if got := must(w.store.Account(t.Context(), owner.id)).Head; got != head {
		t.Errorf("the head moved to %v", got)
	}
	select {
	case <-w.server.Failed():
		t.Error("a full disk stops the server")
	default:
	}
	broken.fail(nil)
	w.ok(owner.send(d, entry, shares))

	broken.fail(func() error { panic("a secret that nobody should see") })
	more, moreShares := owner.put(3, 1, "a third")
	err = owner.send(d, []*ledger.Entry{owner.draft(d, more...)}, moreShares)
	if !errors.Is(err, api.ErrUnavailable) || strings.Contains(err.Error(), "secret") {
		t.Errorf("a panic gives %v", err)
	}
	if !strings.Contains(w.log.String(), "panicked") || strings.Contains(w.log.String(), "nobody should see") {
		t.Errorf("the log has of a panic:\n%s", &w.log)
	}
	broken.fail(nil)
	w.ok(owner.send(d, []*ledger.Entry{owner.draft(d, more...)}, moreShares))
}

// After a failed fsync nobody knows what is on the disk: the server ends.
func TestStoreFailsForGood(t *testing.T) {
	w := newWorld(t)
	broken := &failing{}
	w.wrap = func(s store.Store) store.Store { broken.Store = s; return broken }
	w.restart()
	owner := w.create("owner")
	broken.fail(func() error { return fmt.Errorf("%w: fsync: input/output error", store.ErrFailed) })
	_, _, err := owner.seedHalf(owner.device(1))
	w.refused(err, api.ErrUnavailable)
	select {
	case <-w.server.Failed():
	default:
		t.Error("the server goes on")
	}
}

// A server must not serve the data of another: it could open nothing of it.
func TestOtherKeys(t *testing.T) {
	w := newWorld(t)
	_, err := server.New(t.Context(), server.Config{Store: w.store, Keys: must(server.GenerateKeys(rand.Reader))})
	if !errors.Is(err, store.ErrOtherServer) {
		t.Errorf("got %v", err)
	}
}

// One address cannot take all of a server; this machine's own is exempt.
func TestRemoteLimit(t *testing.T) {
	w := newWorld(t)
	h := w.server.Handler()
	ask := func(remote string) int {
		r := httptest.NewRequest(http.MethodPost, apiv1connect.ServerServiceIdentifyProcedure, strings.NewReader(`{}`))
		r.Header.Set("Content-Type", "application/json")
		r.RemoteAddr = remote
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r)
		return answer.Code
	}
	limited := 0
	for range 1000 {
		if ask("192.0.2.1:1000") == http.StatusTooManyRequests {
			limited++
		}
	}
	if limited == 0 || limited == 1000 {
		t.Errorf("%d of 1000 requests of one address were refused", limited)
	}
	if ask("192.0.2.2:1000") == http.StatusTooManyRequests || ask("127.0.0.1:1000") == http.StatusTooManyRequests {
		t.Error("others are refused with it")
	}
}

// A body that is too large is not read to its end.
func TestHugeBody(t *testing.T) {
	w := newWorld(t)
	endless := &counted{}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.http.URL+apiv1connect.ServerServiceEntriesProcedure, endless)
	w.ok(err)
	r.Header.Set("Content-Type", "application/proto")
	answer, err := w.http.Client().Do(r)
	if err == nil {
		if answer.StatusCode == http.StatusOK {
			t.Error("an endless body was taken")
		}
		w.ok(answer.Body.Close())
	}
	if n := endless.n.Load(); n > 64<<20 {
		t.Errorf("%d bytes were read", n)
	}
}

type counted struct{ n atomic.Int64 }

func (c *counted) Read(b []byte) (int, error) {
	c.n.Add(int64(len(b)))
	return len(b), nil
}
