package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"zeropass.dev/zeropass/internal/device"
	"zeropass.dev/zeropass/internal/entropy"
	"zeropass.dev/zeropass/internal/server"
	"zeropass.dev/zeropass/internal/store/sqlite"
)

// unlockCost is the base-2 logarithm of scrypt's rounds, for passphrases that
// protect nothing.
const unlockCost = 12

// host is the server of the demo.
type host struct {
	dir, keyFile string
	url          string
	keys         *server.Keys
	store        *sqlite.Store
	entropy      *entropy.Service
	http         *http.Server
	served       chan struct{}
}

// newHost starts a server on the loopback interface.
func newHost(ctx context.Context, dir string) (*host, error) {
	h := &host{dir: filepath.Join(dir, "server"), keyFile: filepath.Join(dir, "server-keys"), served: make(chan struct{})}
	if err := os.Mkdir(h.dir, 0o700); err != nil {
		return nil, err
	}
	var err error
	if h.keys, err = server.GenerateKeys(rand.Reader); err != nil {
		return nil, err
	}
	if err := server.WriteKeys(h.keyFile, h.keys); err != nil {
		return nil, err
	}
	if h.store, err = sqlite.Open(ctx, h.database()); err != nil {
		return nil, err
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	if h.entropy, err = entropy.New(entropy.Config{System: rand.Reader, Sources: entropy.DefaultSpecs(), Log: log}); err != nil {
		return nil, err
	}
	s, err := server.New(ctx, server.Config{Store: h.store, Keys: h.keys, Now: time.Now, Rand: rand.Reader, Entropy: h.entropy, Log: log})
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	h.url = "http://" + listener.Addr().String()
	h.http = server.NewHTTPServer(s.Handler(), log)
	go func() {
		defer close(h.served)
		_ = h.http.Serve(listener)
	}()
	return h, nil
}

func (h *host) database() string { return filepath.Join(h.dir, "zeropass.db") }

// stop ends the server. Stopping it again does nothing.
func (h *host) stop() error {
	if h == nil || h.http == nil {
		return nil
	}
	err := h.http.Close()
	<-h.served
	h.http = nil
	return errors.Join(err, h.store.Close(), h.entropy.Close())
}

// person is somebody with one device.
type person struct {
	*device.Device
	name string
	dir  string

	slow atomic.Int64 // nanoseconds that the device's clock is behind
}

// now is what the person's clock shows.
func (p *person) now() time.Time { return time.Now().Add(-time.Duration(p.slow.Load())) }

// The passphrases of the demo's people. They are printed at the end for whoever
// wants to look into the directories.
func passphrase(name string) []byte        { return []byte("the passphrase of " + name) }
func confirmPassphrase(name string) []byte { return []byte("the confirm passphrase of " + name) }

func (s *story) options(p *person) device.Options {
	return device.Options{
		Now: p.now,
		Progress: func(step device.Progress) {
			if step.Total > 0 {
				s.progress("%s: %s, %d of %d", p.name, step.Step, step.Done, step.Total)
			} else {
				s.progress("%s: %s", p.name, step.Step)
			}
		},
		ConfirmPassphrase: func() ([]byte, error) { return confirmPassphrase(p.name), nil },
	}
}

// newPerson makes an account with one device.
func (s *story) newPerson(ctx context.Context, name string) (*person, error) {
	p := &person{name: name, dir: filepath.Join(s.dir, "home-"+name)}
	d, _, err := device.Init(ctx, s.options(p), device.InitOptions{
		Dir: p.dir, ServerURL: s.host.url, Name: name,
		WaitingPeriod: WaitingPeriod, UnlockCost: unlockCost,
		Passphrase: passphrase(name), ConfirmPassphrase: confirmPassphrase(name),
	})
	if err != nil {
		return nil, fmt.Errorf("%s makes an account: %w", name, err)
	}
	p.Device = d
	return p, nil
}

// close lets go of the person's directory.
func (p *person) close() error {
	if p == nil || p.Device == nil {
		return nil
	}
	err := p.Device.Close()
	p.Device = nil
	return err
}
