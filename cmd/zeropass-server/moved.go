package main

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"strings"
	"time"

	"zeropass.dev/zeropass/internal/client"
	"zeropass.dev/zeropass/internal/server"
)

// checkMoved refuses a new address that no device would take.
func (o *serveOptions) checkMoved() error {
	if err := client.CheckURL(o.movedTo); err != nil {
		return usage("Name the address that devices reach the server at now.", "--moved-to: %v", err)
	}
	if o.isTLS() && strings.HasPrefix(strings.ToLower(o.movedTo), "http:") {
		return usage("Devices follow nobody from https to http.", "--moved-to %s: this server has a certificate, and that address has none", o.movedTo)
	}
	return nil
}

// serveMoved answers where the server has moved from, until ctx ends. It opens no
// data: what may still be here must not be written to any more.
func (o *serveOptions) serveMoved(ctx context.Context, stdout, stderr io.Writer) error {
	proxies, err := o.proxies.proxies()
	if err != nil {
		return err
	}
	certificates, err := o.certificates()
	if err != nil {
		return err
	}
	keys, err := readKeyFile(o.data.keyPath())
	if errors.Is(err, fs.ErrNotExist) {
		return fail(exitFailed, "Copy the key file of the server that has moved: devices believe nobody else.", "the key file %s is missing", o.data.keyPath())
	}
	if err != nil {
		return err
	}
	log := o.logger(stderr)
	d := &data{keys: keys}
	defer d.followKeys(log)()
	measured := newMetrics()
	s, err := server.New(ctx, server.Config{Keys: keys, Now: time.Now, Rand: rand.Reader, Log: log, MovedTo: o.movedTo, Observe: measured.request})
	if err != nil {
		return err
	}
	healthy := &health{allowOS: true, failed: s.Failed()}
	log.Info("the server has moved: devices that come here are told where it is, and nothing else is done", "moved_to", o.movedTo)
	return o.answer(ctx, stdout, d, measured, &running{
		server: s, health: healthy, http: proxies.NewHTTPServer(s.MovedHandler(), log),
		certificates: certificates, drain: o.drain, manager: newSystemd(log), log: log,
	})
}
