package server_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/client"
	"zeropass.dev/zeropass/internal/server"
	"zeropass.dev/zeropass/internal/store"
)

// patience is how long something may take that ought to happen at once.
const patience = 10 * time.Second

// watcher is one open stream.
type watcher struct {
	w     *world
	hints chan apiv1.Hint_Kind
	ended chan error
}

// watches opens a stream and waits for its first hint.
func (d *device) watches() *watcher {
	d.w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	watcher := &watcher{w: d.w, hints: make(chan apiv1.Hint_Kind, 1000), ended: make(chan error, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		watcher.ended <- d.w.client().Watch(ctx, d.identity(), func(kind apiv1.Hint_Kind) { watcher.hints <- kind })
	}()
	d.w.t.Cleanup(func() { cancel(); <-done })
	watcher.hears(apiv1.Hint_KIND_UNSPECIFIED)
	return watcher
}

// hears waits for a hint of this kind, and passes over others.
func (w *watcher) hears(want apiv1.Hint_Kind) {
	w.w.t.Helper()
	var others []apiv1.Hint_Kind
	for {
		select {
		case kind := <-w.hints:
			if kind == want {
				return
			}
			others = append(others, kind)
		case err := <-w.ended:
			w.w.t.Fatalf("the stream ended with %v, want a hint %v", err, want)
		case <-time.After(patience):
			w.w.t.Fatalf("no hint %v came, only %v", want, others)
		}
	}
}

// ends waits for the stream's end.
func (w *watcher) ends() error {
	w.w.t.Helper()
	select {
	case err := <-w.ended:
		return err
	case <-time.After(patience):
		w.w.t.Fatal("the stream does not end")
		return nil
	}
}

func TestHints(t *testing.T) {
	w := newWorld(t)
	owner, contacts := w.family()
	own, contact := owner.first().watches(), contacts[0].first().watches()
	stranger := w.create("stranger")
	other := stranger.first().watches()

	owner.store(1, 1, "one")
	own.hears(apiv1.Hint_KIND_LEDGER)
	own.hears(apiv1.Hint_KIND_ACTIVITY)
	d := owner.first()
	_, err := owner.reveal(d, owner.version(1, 1), d.confirms(apiv1.Confirmation_KEY_CONFIRM))
	w.ok(err)
	own.hears(apiv1.Hint_KIND_ACTIVITY)
	w.ok(contacts[0].send1(apiv1.Message_KIND_INVITATION_ANSWER, owner, "an answer"))
	own.hears(apiv1.Hint_KIND_INBOX)

	n := w.recover(owner)
	_, err = n.start()
	w.ok(err)
	own.hears(apiv1.Hint_KIND_RECOVERY)
	contact.hears(apiv1.Hint_KIND_RECOVERY)
	w.ok(n.approve(contacts[0], 1))
	own.hears(apiv1.Hint_KIND_RECOVERY)
	contact.hears(apiv1.Hint_KIND_RECOVERY)
	owner.add(&recordv1.RecoveryVetoed{Request: n.id()})
	own.hears(apiv1.Hint_KIND_RECOVERY)
	contact.hears(apiv1.Hint_KIND_RECOVERY)

	// Nobody else hears of it.
	select {
	case kind := <-other.hints:
		t.Errorf("a stranger heard %v", kind)
	default:
	}
}

func TestStreamEndsWithTheDevice(t *testing.T) {
	w := newWorld(t)
	owner, contacts := w.family()
	second := owner.addDevice()
	locked, active := second.watches(), owner.first().watches()
	owner.add(&recordv1.DeviceLocked{Device: second.number})
	w.refused(locked.ends(), api.ErrDeviceLocked)
	w.refused(w.client().Watch(t.Context(), second.identity(), func(apiv1.Hint_Kind) { t.Error("a locked device gets hints") }), api.ErrDeviceLocked)

	// A recovery revokes all earlier devices.
	n := w.released(owner, contacts)
	w.ok(n.takeOver(n.recovered(must(n.ledger()))))
	w.refused(active.ends(), api.ErrDeviceRevoked)
}

// A panic while a stream looks after its device ends that stream and not the server.
func TestAPanicEndsOneStream(t *testing.T) {
	w := newWorld(t)
	broken := &failing{}
	w.wrap = func(s store.Store) store.Store { broken.Store = s; return broken }
	w.restart()
	owner := w.create("ada")
	active := owner.first().watches()
	broken.mu.Lock()
	broken.look = func() error { panic("a secret that nobody should see") }
	broken.mu.Unlock()
	w.server.Hint(owner.id)
	if err := active.ends(); !errors.Is(err, api.ErrUnavailable) {
		t.Errorf("the stream ends with %v", err)
	}
	broken.mu.Lock()
	broken.look = nil
	broken.mu.Unlock()
	owner.first().watches()
}

func TestStreamsEndWithTheServer(t *testing.T) {
	w := newWorld(t)
	owner := w.create("ada")
	active := owner.first().watches()
	w.server.Close()
	w.ok(active.ends())
	w.refused(w.client().Watch(t.Context(), owner.first().identity(), func(apiv1.Hint_Kind) {}), api.ErrUnavailable)
}

// TestOneStreamTooMany opens more streams than a device may have: the oldest
// ends.
func TestOneStreamTooMany(t *testing.T) {
	w := newWorld(t)
	d := w.create("ada").first()
	var streams []*watcher
	for range 9 {
		streams = append(streams, d.watches())
	}
	w.ok(streams[0].ends())
	for i, st := range streams[1:] {
		select {
		case err := <-st.ended:
			t.Errorf("stream %d ended: %v", i+1, err)
		default:
		}
	}
}

// TestManyIdleStreams keeps a thousand streams open and wakes one account's.
func TestManyIdleStreams(t *testing.T) {
	w := newWorld(t)
	const accounts, each = 125, 8
	var streams []*watcher
	var devices []*device
	for i := range accounts {
		devices = append(devices, w.create(fmt.Sprint("account", i)).first())
	}
	for _, d := range devices {
		for range each {
			streams = append(streams, d.watches())
		}
	}
	half := func(a *account) {
		_, _, err := a.seedHalf(a.first())
		w.ok(err)
	}
	half(devices[0].account)
	for _, st := range streams[:each] {
		st.hears(apiv1.Hint_KIND_ACTIVITY)
	}
	for _, st := range streams[each:] {
		if len(st.hints) > 0 || len(st.ended) > 0 {
			t.Fatal("a stream of another account heard of it, or ended")
		}
	}
	w.server.Close()
	for _, st := range streams {
		w.ok(st.ends())
	}
}

// TestStreamOutlivesTheTimeouts serves with timeouts that would cut any stream.
func TestStreamOutlivesTheTimeouts(t *testing.T) {
	w := newWorld(t)
	d := w.create("ada").first()
	h := server.NewHTTPServer(w.server.Handler(), slog.New(slog.DiscardHandler))
	h.ReadTimeout, h.WriteTimeout = 300*time.Millisecond, 300*time.Millisecond
	h.RegisterOnShutdown(w.server.Close)
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	served := make(chan error, 1)
	go func() { served <- h.Serve(listener) }()

	for _, protocol := range []string{"http1", "http2"} {
		t.Run(protocol, func(t *testing.T) {
			transport := &http.Transport{Protocols: new(http.Protocols)}
			transport.Protocols.SetHTTP1(protocol == "http1")
			transport.Protocols.SetUnencryptedHTTP2(protocol == "http2")
			defer transport.CloseIdleConnections()
			c := must(client.New(&http.Client{Transport: transport}, "http://"+listener.Addr().String(), w.keys.SignKey(), zeros{}, w.clock))
			ctx, cancel := context.WithCancel(t.Context())
			var mu sync.Mutex
			var heard []apiv1.Hint_Kind
			go func() {
				defer cancel()
				time.Sleep(time.Second)
				_, _, _ = d.account.seedHalf(d)
				for range 100 {
					time.Sleep(20 * time.Millisecond)
					mu.Lock()
					done := slices.Contains(heard, apiv1.Hint_KIND_ACTIVITY)
					mu.Unlock()
					if done {
						return
					}
				}
			}()
			if err := c.Watch(ctx, d.identity(), func(kind apiv1.Hint_Kind) {
				mu.Lock()
				defer mu.Unlock()
				heard = append(heard, kind)
			}); err != nil {
				t.Errorf("the stream ended: %v", err)
			}
			if !slices.Contains(heard, apiv1.Hint_KIND_ACTIVITY) {
				t.Errorf("heard only %v", heard)
			}
		})
	}
	// A server that is asked to end does so although a stream is open.
	open := make(chan struct{})
	var once sync.Once
	ended := make(chan error, 1)
	go func() {
		c := must(client.New(nil, "http://"+listener.Addr().String(), w.keys.SignKey(), zeros{}, w.clock))
		ended <- c.Watch(t.Context(), d.identity(), func(apiv1.Hint_Kind) { once.Do(func() { close(open) }) })
	}()
	<-open
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	w.ok(h.Shutdown(ctx))
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
	w.ok(<-ended)
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}
