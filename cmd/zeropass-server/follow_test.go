package main

import (
	"context"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/internal/store/postgres/postgrestest"
)

// listener is an open stream of hints.
type listener struct {
	t     *testing.T
	hints chan apiv1.Hint_Kind
	ended chan error
	stop  func()
}

// listens opens a stream, and returns when the server has it.
func (o *owner) listens(url string) *listener {
	o.t.Helper()
	ctx, cancel := context.WithCancel(o.t.Context())
	l := &listener{t: o.t, hints: make(chan apiv1.Hint_Kind, 1000), ended: make(chan error, 1), stop: cancel}
	go func() {
		l.ended <- o.client(url).Watch(ctx, o.identity(), func(kind apiv1.Hint_Kind) { l.hints <- kind })
	}()
	<-l.hints
	return l
}

// hears waits for a hint that the ledger has changed.
func (l *listener) hears() {
	l.t.Helper()
	for late := time.After(time.Minute); ; {
		select {
		case kind := <-l.hints:
			if kind == apiv1.Hint_KIND_LEDGER {
				return
			}
		case err := <-l.ended:
			l.t.Fatalf("the stream ended: %v", err)
		case <-late:
			l.t.Fatal("no hint came")
		}
	}
}

// A server whose streams would not say what happens elsewhere is not ready, and
// goes on by itself.
func TestNotReadyWithoutChanges(t *testing.T) {
	t.Parallel() // it waits
	database := postgrestest.Start(t, postgrestest.Options{Durable: true})
	url := database.URL(database.Database(t))
	p := startOver(t, "--database", url, "--key-file", filepath.Join(t.TempDir(), "keys"), loopback, adminLoopback, "--allow-os-entropy")
	o := newOwner(t, p.URL)
	until := func(code int, page, want string) {
		t.Helper()
		for late := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
			got, body := get(t, p.AdminURL+page)
			if got == code && strings.Contains(body, want) {
				return
			}
			if time.Now().After(late) {
				t.Fatalf("%s goes on saying %d:\n%s", page, got, body)
			}
		}
	}
	until(http.StatusOK, "/metrics", "\nzeropass_changes_behind_seconds 0\n")

	first := o.listens(p.URL)
	o.write(p.URL, "one")
	first.hears()

	// The table cannot be read; all else goes on.
	conn := must[*pgx.Conn](t)(pgx.Connect(t.Context(), url))
	lock := must[pgx.Tx](t)(conn.Begin(t.Context()))
	_, err := lock.Exec(t.Context(), `LOCK TABLE changes IN ACCESS EXCLUSIVE MODE`)
	o.must(err)
	const unseen = "what other servers change cannot be followed"
	until(http.StatusServiceUnavailable, "/readyz", unseen)
	if _, body := get(t, p.AdminURL+"/readyz"); strings.Contains(body, "does not answer") {
		t.Errorf("it also says %s", body)
	}
	until(http.StatusOK, "/metrics", "\nzeropass_ready 0\n")
	o.must(lock.Rollback(t.Context()))
	o.must(conn.Close(t.Context()))
	until(http.StatusOK, "/readyz", "ready")
	o.write(p.URL, "two")
	first.hears()

	// No connection comes through.
	database.Stop()
	until(http.StatusServiceUnavailable, "/readyz", "the store does not answer")
	database.Run(t)
	until(http.StatusOK, "/readyz", "ready")
	second := o.listens(p.URL)
	o.write(p.URL, "three")
	second.hears()

	first.stop()
	second.stop()
	until(http.StatusOK, "/metrics", "\nzeropass_changes_behind_seconds 0\n")
	p.stop(t)
	if log := p.stderr.String(); !strings.Contains(log, unseen) {
		t.Errorf("the log does not say it:\n%s", log)
	}
}
