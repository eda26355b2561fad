package systemtest

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"zeropass.dev/zeropass/internal/device"
	"zeropass.dev/zeropass/internal/entropy"
	"zeropass.dev/zeropass/internal/logtest"
	"zeropass.dev/zeropass/internal/server"
	"zeropass.dev/zeropass/internal/store/sqlite"
)

// world is one server and the devices of its accounts, all with real directories
// and real HTTP on the loopback interface, under one clock.
type world struct {
	t       *testing.T
	dir     string
	keys    *server.Keys
	address string // stays the same when the server is restarted
	stop    func()
	said    said

	mu     sync.Mutex
	offset time.Duration
}

// newWorld starts a server with an empty database.
func newWorld(t *testing.T) *world {
	t.Helper()
	keys, err := server.GenerateKeys(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, dir: t.TempDir(), keys: keys}
	w.start()
	t.Cleanup(w.end)
	return w
}

// end stops the server, which has told its operator nothing of anybody's.
func (w *world) end() {
	w.t.Helper()
	w.stopServer()
	logtest.CheckSQLite(w.t, w.said.bytes(), w.database(), unsaid(w.t, w.keys)...)
}

// now is the world's time: the real one, and whatever wait added.
func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.offset)
}

// wait lets time pass for everybody at once.
func (w *world) wait(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.offset += d
}

func (w *world) database() string { return filepath.Join(w.dir, "server.db") }

// url is where the server is reached.
func (w *world) url() string { return "http://" + w.address }

// start runs the server over the database as it is.
func (w *world) start() {
	w.t.Helper()
	ctx := context.Background()
	store, err := sqlite.Open(ctx, w.database())
	if err != nil {
		w.t.Fatal(err)
	}
	clock, err := entropy.ParseSpec(entropy.KindJitter) // there on every machine, and fast
	if err != nil {
		w.t.Fatal(err)
	}
	noise, err := entropy.New(entropy.Config{System: rand.Reader, Sources: []entropy.Spec{clock}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := server.New(ctx, server.Config{
		Store: store, Keys: w.keys, Now: w.now, Rand: rand.Reader, Entropy: noise,
		Log: w.said.log(), Observe: w.said.observe, Tracing: w.said.tracing(w.t),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if w.address == "" {
		w.address = "127.0.0.1:0"
	}
	listener, err := net.Listen("tcp", w.address)
	if err != nil {
		w.t.Fatal(err)
	}
	w.address = listener.Addr().String()
	h := server.NewHTTPServer(s.Handler(), w.said.log())
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = h.Serve(listener)
	}()
	w.stop = func() {
		_ = h.Close()
		<-served
		// A connection that looks alive and is not would make the next request fail.
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		if err := store.Close(); err != nil {
			w.t.Error(err)
		}
	}
}

// stopServer takes the server down, if it runs.
func (w *world) stopServer() {
	if w.stop != nil {
		w.stop()
		w.stop = nil
	}
}

// backup returns a copy of the server's data, for restore.
func (w *world) backup() []byte {
	w.t.Helper()
	w.stopServer()
	defer w.start()
	b, err := os.ReadFile(w.database())
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// restore puts the server back to an older copy of its data.
func (w *world) restore(b []byte) {
	w.t.Helper()
	w.stopServer()
	defer w.start()
	for _, beside := range []string{"-wal", "-shm"} {
		if err := os.Remove(w.database() + beside); err != nil && !errors.Is(err, os.ErrNotExist) {
			w.t.Fatal(err)
		}
	}
	if err := os.WriteFile(w.database(), b, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

const (
	passphrase        = "a passphrase for tests"
	confirmPassphrase = "another passphrase for tests"
)

// person is somebody with one device.
type person struct {
	*device.Device
	w    *world
	name string
	dir  string

	label string // what owners call them as a contact; the name if empty
}

// options are those of every device in the world.
func (w *world) options() device.Options {
	return device.Options{
		Now:               w.now,
		ConfirmPassphrase: func() ([]byte, error) { return []byte(confirmPassphrase), nil },
	}
}

// person makes an account with one device. change, which may be nil, changes what
// it starts from.
func (w *world) person(name string, change func(*device.InitOptions)) *person {
	w.t.Helper()
	p := &person{w: w, name: name, dir: filepath.Join(w.t.TempDir(), name)}
	i := device.InitOptions{
		Dir: p.dir, ServerURL: w.url(), Name: name, UnlockCost: 1,
		Passphrase: []byte(passphrase), ConfirmPassphrase: []byte(confirmPassphrase),
	}
	if change != nil {
		change(&i)
	}
	d, _, err := device.Init(context.Background(), w.options(), i)
	if err != nil {
		w.t.Fatalf("init of %s: %s", name, explained(err))
	}
	p.Device = d
	w.t.Cleanup(p.close)
	return p
}

// close lets go of the directory.
func (p *person) close() {
	if p.Device == nil {
		return
	}
	if err := p.Device.Close(); err != nil {
		p.w.t.Error(err)
	}
	p.Device = nil
}

// reopen closes and opens the directory, as another run of the program does.
func (p *person) reopen() {
	p.w.t.Helper()
	p.close()
	d, err := device.Open(context.Background(), p.dir, []byte(passphrase), p.w.options())
	if err != nil {
		p.w.t.Fatalf("open of %s: %s", p.name, explained(err))
	}
	p.Device = d
}

// sync syncs, which must succeed.
func (p *person) sync() *device.SyncResult {
	p.w.t.Helper()
	r, err := p.Sync(context.Background())
	if err != nil {
		p.w.t.Fatalf("sync of %s: %s", p.name, explained(err))
	}
	return r
}

// befriend makes contacts of an owner, up to their receipts and the commit.
func (w *world) befriend(owner *person, contacts ...*person) {
	w.t.Helper()
	for _, c := range contacts {
		accepted := w.accept(owner, c)
		w.confirm(owner, c, accepted.OwnPhrase)
		c.sync()
	}
	owner.sync()
}

// accept has a contact answer an invitation by the owner.
func (w *world) accept(owner, contact *person) *device.AcceptResult {
	w.t.Helper()
	ctx := context.Background()
	invited, err := owner.Invite(ctx, cmp.Or(contact.label, contact.name))
	if err != nil {
		w.t.Fatalf("%s invites %s: %s", owner.name, contact.name, explained(err))
	}
	accepted, err := contact.Accept(ctx, invited.Text)
	if err != nil {
		w.t.Fatalf("%s accepts %s: %s", contact.name, owner.name, explained(err))
	}
	if accepted.OwnerPhrase != invited.Phrase {
		w.t.Fatalf("the owner's phrase is %q here and %q there", invited.Phrase, accepted.OwnerPhrase)
	}
	return accepted
}

// confirm has the owner bind a contact by the phrase that it read out.
func (w *world) confirm(owner, contact *person, phrase string) *device.ConfirmResult {
	w.t.Helper()
	r, err := owner.Confirm(context.Background(), device.ConfirmOptions{Contact: contact.name, Phrase: phrase})
	if err != nil {
		w.t.Fatalf("%s confirms %s: %s", owner.name, contact.name, explained(err))
	}
	return r
}

// explained is an error with what a person would be told to do next.
func explained(err error) string {
	var e *device.Error
	if errors.As(err, &e) {
		return strings.TrimSpace(e.Message + " (" + e.Hint + ")")
	}
	return err.Error()
}

// wantCode fails the test unless the error is one for people of this kind.
func wantCode(t *testing.T, err error, code device.Code) {
	t.Helper()
	var e *device.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Fatalf("error %v, want one of code %d", err, code)
	}
}
