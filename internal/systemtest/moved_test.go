package systemtest

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/internal/device"
	"zeropass.dev/zeropass/internal/server"
)

// elsewhere is a server with the same keys at another address, over a copy of the
// data.
func (w *world) elsewhere(data []byte) *world {
	w.t.Helper()
	other := &world{t: w.t, dir: w.t.TempDir(), keys: w.keys}
	if err := os.WriteFile(other.database(), data, 0o600); err != nil {
		w.t.Fatal(err)
	}
	other.start()
	w.t.Cleanup(other.end)
	return other
}

// movedHandler answers where a server has moved from.
func (w *world) movedHandler(to string) http.Handler {
	w.t.Helper()
	s, err := server.New(context.Background(), server.Config{Keys: w.keys, Now: w.now, Rand: rand.Reader, Log: slog.New(slog.DiscardHandler), MovedTo: to})
	if err != nil {
		w.t.Fatal(err)
	}
	return s.MovedHandler()
}

// announce stops the server, and says at its address where it is now.
func (w *world) announce(to string) {
	w.t.Helper()
	w.stopServer()
	listener, err := net.Listen("tcp", w.address)
	if err != nil {
		w.t.Fatal(err)
	}
	h := &http.Server{Handler: w.movedHandler(to)}
	go func() { _ = h.Serve(listener) }()
	w.t.Cleanup(func() {
		_ = h.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
}

// at wants a device to look for its server at an address, now and when it is opened
// again.
func (p *person) at(url string) {
	p.w.t.Helper()
	s, err := p.Server()
	if err != nil || s.URL != url {
		p.w.t.Fatalf("%s looks for the server at %v, %v; not at %s", p.name, s, err, url)
	}
	h, err := home.OpenReadOnly(p.dir)
	if err != nil {
		p.w.t.Fatal(err)
	}
	defer h.Close()
	if stored := h.Config().Url; stored != url {
		p.w.t.Fatalf("%s has stored %s, not %s", p.name, stored, url)
	}
}

// Nobody is sent from https to http, not even to this machine; a person may go there.
func TestMovedToHTTP(t *testing.T) {
	w := newWorld(t)
	inner, err := url.Parse(w.url())
	if err != nil {
		t.Fatal(err)
	}
	var handler atomic.Value
	handler.Store(http.Handler(http.HandlerFunc(httputil.NewSingleHostReverseProxy(inner).ServeHTTP)))
	front := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.Load().(http.Handler).ServeHTTP(w, r) }))
	t.Cleanup(front.Close)
	o := w.options()
	o.HTTP = front.Client()
	o.Moved = func(m device.Move) { t.Errorf("it has moved: %+v", m) }
	p := &person{w: w, name: "ada", dir: filepath.Join(t.TempDir(), "ada")}
	p.Device, _, err = device.Init(context.Background(), o, device.InitOptions{
		Dir: p.dir, ServerURL: front.URL, Name: "ada", UnlockCost: 1, Passphrase: []byte(passphrase), ConfirmPassphrase: []byte(confirmPassphrase),
	})
	if err != nil {
		t.Fatal(explained(err))
	}
	t.Cleanup(p.close)
	p.sync()

	handler.Store(http.Handler(http.HandlerFunc(w.movedHandler(w.url()).ServeHTTP)))
	_, err = p.Sync(context.Background())
	wantCode(t, err, device.CodeRefused)
	p.at(front.URL)
	if _, err := p.MoveServer(context.Background(), w.url(), false); err != nil {
		t.Fatal(explained(err))
	}
	p.at(w.url())
	p.sync()
}

// A server whose ledger is behind is followed and mended, one whose ledger is another
// one is not, unless the owner says that it was restored.
func TestMovedWithOtherData(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	p := w.person("ada", nil)
	data := w.backup()
	twin := &person{w: w, name: "ada's twin", dir: filepath.Join(t.TempDir(), "twin")}
	p.close()
	copyDir(t, p.dir, twin.dir)
	p.reopen()
	p.add("mail", "kept here alone")

	behind := w.elsewhere(data)
	w.announce(behind.url())
	p.sync()
	p.at(behind.url())
	p.wantSecret("mail", "kept here alone")

	other := w.elsewhere(data)
	twin.reopen()
	t.Cleanup(twin.close)
	if _, err := twin.MoveServer(ctx, other.url(), false); err != nil {
		t.Fatal(explained(err))
	}
	twin.add("mail", "another history")
	before := p.Head()
	_, err := p.MoveServer(ctx, other.url(), false)
	wantCode(t, err, device.CodeDishonest)
	behind.announce(other.url())
	_, err = p.Sync(ctx)
	wantCode(t, err, device.CodeDishonest)
	p.at(behind.url())
	if p.Head() != before {
		t.Error("its ledger has changed")
	}
	if _, err := p.MoveServer(ctx, other.url(), true); err != nil {
		t.Fatal(explained(err))
	}
	p.at(other.url())
	_, err = p.Sync(ctx)
	wantCode(t, err, device.CodeDishonest)
	if s, err := p.Status(ctx); err != nil || !s.Fork {
		t.Errorf("two histories are not seen: %v", err)
	}
}

// A recovery that waits goes on where the server has moved to, and so does one that is
// begun again with the new address.
func TestMovedWhileARecoveryWaits(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	owner, ann, ben := w.person("ada", nil), w.person("ann", nil), w.person("ben", nil)
	w.befriend(owner, ann, ben)
	for _, p := range []*person{owner, ann, ben} {
		p.sync()
	}
	fresh := &person{w: w, name: "ada", dir: filepath.Join(t.TempDir(), "new")}
	options := device.RecoverOptions{
		Dir: fresh.dir, ServerURL: w.url(), Name: "ada", UnlockCost: 1, Passphrase: []byte(passphrase), ConfirmPassphrase: []byte(confirmPassphrase),
	}
	var begun *device.RecoveryResult
	var err error
	if fresh.Device, begun, err = device.RecoverStart(ctx, w.options(), options); err != nil {
		t.Fatal(explained(err))
	}
	t.Cleanup(fresh.close)
	second := w.elsewhere(w.backup())
	w.announce(second.url())
	status, err := fresh.RecoverStatus(ctx)
	if err != nil || status.Request != begun.Request {
		t.Fatalf("the recovery is another one: %v", err)
	}
	fresh.at(second.url())
	// Contacts follow for their own accounts.
	ann.sync()
	ann.at(second.url())
	if r, err := ann.Sync(ctx); err != nil || len(r.Requests) != 1 || r.Requests[0].ID != begun.Request {
		t.Errorf("a contact does not see the request: %v", err)
	}

	// Nobody announces the next move.
	third := w.elsewhere(second.backup())
	second.stopServer()
	_, err = fresh.RecoverStatus(ctx)
	wantCode(t, err, device.CodeUnreachable)
	fresh.close()
	options.ServerURL = third.url()
	var again *device.RecoveryResult
	if fresh.Device, again, err = device.RecoverStart(ctx, w.options(), options); err != nil {
		t.Fatal(explained(err))
	}
	if again.Request != begun.Request {
		t.Error("the recovery began anew")
	}
	fresh.at(third.url())
}
