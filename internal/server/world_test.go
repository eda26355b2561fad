package server_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/client"
	"zeropass.dev/zeropass/internal/entropy"
	"zeropass.dev/zeropass/internal/logtest"
	"zeropass.dev/zeropass/internal/server"
	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/internal/store/sqlite"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

func TestMain(m *testing.M) {
	if kind := os.Getenv(idleServer); kind != "" {
		if err := serveIdle(kind); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// world is a server over a real database, reached by real HTTP, under a clock
// that tests move.
type world struct {
	t      *testing.T
	keys   *server.Keys
	dir    string
	store  store.Store
	server *server.Server
	http   *httptest.Server
	wrap   func(store.Store) store.Store // breaks the store, in some tests

	configure func(*server.Config) // in some tests
	limit     func(*server.Server) // likewise

	mu  sync.Mutex
	now time.Time
	log bytes.Buffer

	accounts []*account
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{}
	w.begin(t)
	return w
}

func (w *world) begin(t *testing.T) {
	t.Helper()
	w.t, w.dir = t, t.TempDir()
	if w.keys == nil {
		w.keys = must(server.GenerateKeys(rand.Reader))
	}
	w.now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	w.start()
	t.Cleanup(func() {
		w.stop()
		w.checkLog()
	})
}

// Write is the server's log.
func (w *world) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(b)
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) wait(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) database() string { return filepath.Join(w.dir, "server.db") }

func (w *world) start() {
	w.t.Helper()
	database := must(sqlite.Open(context.Background(), w.database()))
	w.store = database
	if w.wrap != nil {
		w.store = w.wrap(database)
	}
	w.server = w.serve()
	w.http = httptest.NewServer(w.server.Handler())
}

// serve makes a server over the world's store.
func (w *world) serve() *server.Server {
	noise := must(entropy.New(entropy.Config{System: rand.Reader, AllowOS: true, Log: slog.New(slog.DiscardHandler)}))
	config := server.Config{
		Store: w.store, Keys: w.keys, Now: w.clock, Rand: rand.Reader, Entropy: noise,
		Log: slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if w.configure != nil {
		w.configure(&config)
	}
	s := must(server.New(context.Background(), config))
	if w.limit != nil {
		w.limit(s)
	}
	return s
}

// beside returns a client of another server over the same data.
func (w *world) beside() *client.Client {
	s := w.serve()
	h := httptest.NewServer(s.Handler())
	w.t.Cleanup(func() {
		s.Close()
		h.Close()
	})
	return must(client.New(h.Client(), h.URL, w.keys.SignKey(), rand.Reader, w.clock))
}

func (w *world) stop() {
	w.server.Close()
	w.http.Close()
	if err := w.store.Close(); err != nil {
		w.t.Errorf("close the store: %v", err)
	}
}

// restart stops the server and starts it over the same data.
func (w *world) restart() {
	w.stop()
	w.start()
}

// backup returns a copy of the data, of which restore makes the server's again.
func (w *world) backup() []byte {
	w.stop()
	defer w.start()
	return must(os.ReadFile(w.database()))
}

func (w *world) restore(b []byte) {
	w.t.Helper()
	w.stop()
	for _, beside := range []string{"-wal", "-shm"} {
		if err := os.Remove(w.database() + beside); err != nil && !errors.Is(err, os.ErrNotExist) {
			w.t.Fatal(err)
		}
	}
	if err := os.WriteFile(w.database(), b, 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.start()
}

// checkLog wants nothing in the log of what is in the data, whatever happened, nor of
// the server's keys.
func (w *world) checkLog() {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	logtest.CheckSQLite(w.t, w.log.Bytes(), w.database(), logtest.Keys(w.t, w.keys)...)
}

func (w *world) client() *client.Client {
	return must(client.New(w.http.Client(), w.http.URL, w.keys.SignKey(), rand.Reader, w.clock))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// refused wants the server's signed refusal for this reason.
func (w *world) refused(err error, want api.Reason) *api.Refusal {
	w.t.Helper()
	var refusal *api.Refusal
	if !errors.As(err, &refusal) {
		w.t.Fatalf("got %v, want the refusal %q", err, want)
	}
	if refusal.Reason != want || !refusal.Signed {
		w.t.Fatalf("got %q (signed: %v), want %q", refusal, refusal.Signed, want)
	}
	return refusal
}

// device is one device with its keys.
type device struct {
	w             *world
	account       *account // nil while it recovers
	number        uint64
	sign, confirm *signing.PrivateKey
	seal          *hpke.PrivateKey
}

func (w *world) device() *device {
	return &device{
		w:       w,
		sign:    must(signing.GenerateKey(rand.Reader)),
		confirm: must(signing.GenerateKey(rand.Reader)),
		seal:    must(hpke.GenerateKey(rand.Reader)),
	}
}

func (d *device) keys() *recordv1.DeviceKeys {
	return &recordv1.DeviceKeys{
		SignKey: d.sign.PublicKey().Bytes(), SealKey: d.seal.PublicKey().Bytes(), ConfirmKey: d.confirm.PublicKey().Bytes(),
		Generation: 1, SealedName: []byte("name"),
	}
}

func (d *device) identity() api.Identity {
	return api.Identity{Account: &d.account.id, Device: d.number, Key: d.sign}
}

// confirms is a second factor by this device's key.
func (d *device) confirms(kind apiv1.Confirmation_Key) func(*apiv1.SignedRequest) {
	return func(r *apiv1.SignedRequest) {
		key := d.sign
		if kind == apiv1.Confirmation_KEY_CONFIRM {
			key = d.confirm
		}
		api.Confirm(r, kind, d.number, key)
	}
}

// nonce is any nonce.
func nonce() []byte { return random(api.NonceSize) }

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = io.ReadFull(rand.Reader, b)
	return b
}

// genesis makes Genesis for a device.
func (w *world) genesis(d *device, change func(*recordv1.Genesis)) *ledger.Entry {
	g := &recordv1.Genesis{
		Server: &recordv1.Server{Url: "http://localhost", SignKey: w.keys.SignKey().Bytes(), SealKey: w.keys.SealKey().Bytes()},
		Device: d.keys(),
		Policy: &recordv1.Policy{RevealsPerHour: 5, RevealsPerDay: 8},
	}
	if change != nil {
		change(g)
	}
	return must(ledger.Draft{Time: w.clock(), Author: 1, Records: [][]byte{must(ledger.NewRecord(g))}}.Sign(d.sign))
}

// create makes an account with one device, without an epoch.
func (w *world) create(name string) *account {
	w.t.Helper()
	d := w.device()
	d.number = 1
	entry := w.genesis(d, nil)
	id, _ := entry.Account()
	a := &account{w: w, id: id, name: fmt.Sprintf("%s-%x", name, id[:4]), state: must(ledger.Fold(entry)), entries: []*ledger.Entry{entry}}
	d.account = a
	a.devices = []*device{d}
	_, _, err := w.client().CreateAccount(w.t.Context(), api.Identity{Key: d.sign}, &apiv1.CreateAccountRequest{Name: a.name, Entry: entry.Bytes()})
	w.ok(err)
	w.accounts = append(w.accounts, a)
	return a
}
