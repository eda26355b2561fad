package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"zeropass.dev/zeropass/internal/notify"
	"zeropass.dev/zeropass/internal/server"
	"zeropass.dev/zeropass/internal/store"
)

// stopTime is how long requests under way may take to end when the server stops.
const stopTime = 20 * time.Second

const serveLong = `Serve answers devices until it is stopped with SIGTERM or Ctrl-C.

It prints one line when it is ready: its address and the fingerprint of its
keys. Without a certificate it serves this machine alone, for trying it out or
behind a proxy that has one.

The key file is made with mode 0600 if it is missing. Keep a copy of it, apart
from copies of the data: without it the data are worth nothing, and with both a
thief has all of the server's shares.

With --database the data are in PostgreSQL, and several servers with the same key
file can serve them. Replace servers one by one for a new version: one serves the
schema of its own version and of the next. The database must not acknowledge what it
may lose: with synchronous_commit or fsync off the server does not start. Its
password is never part of the URL; further settings of the connection come from the
URL or from PostgreSQL's environment, sslmode and PGSSLMODE for one.` + settingsUsage

// serveOptions are the flags of serve.
type serveOptions struct {
	data            dataOptions
	listen          string
	tlsCert, tlsKey string
	json            bool
	entropy         entropyOptions
	alarms          alarmOptions
}

func serveCommand() *cobra.Command {
	var o serveOptions
	c := configured(&cobra.Command{
		Use:   "serve --data DIR|--database URL --listen ADDR --key-file FILE",
		Short: "Answer devices",
		Long:  serveLong,
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return o.serve(c.Context(), c.OutOrStdout(), c.ErrOrStderr())
		},
	})
	o.add(c.Flags())
	return c
}

func (o *serveOptions) add(flags *pflag.FlagSet) {
	o.data.add(flags)
	flags.StringVar(&o.listen, "listen", "", "address and port, 127.0.0.1:8440 for one; port 0 takes a free one")
	flags.StringVar(&o.tlsCert, "tls-cert", "", "certificate chain, PEM")
	flags.StringVar(&o.tlsKey, "tls-key", "", "the certificate's private key, PEM")
	o.entropy.add(flags)
	o.alarms.add(flags)
	flags.BoolVar(&o.json, "json", false, "print and log JSON")
}

// check refuses flags that do not fit together.
func (o *serveOptions) check() error {
	if err := o.data.check("serve"); err != nil {
		return err
	}
	for _, flag := range []struct{ name, value, example string }{
		{"listen", o.listen, "127.0.0.1:8440"},
		{"key-file", o.data.keyFile, "/etc/zeropass/server-keys"},
	} {
		if flag.value == "" {
			return usage(fmt.Sprintf("For instance --%s %s", flag.name, flag.example), "serve needs --%s", flag.name)
		}
	}
	if (o.tlsCert == "") != (o.tlsKey == "") {
		return usage("Give both, or none for this machine alone.", "--tls-cert and --tls-key belong together")
	}
	host, _, err := net.SplitHostPort(o.listen)
	if err != nil {
		return usage("An address looks like 127.0.0.1:8440 or [::1]:8440.", "--listen %s: not an address and a port", o.listen)
	}
	if o.tlsCert == "" && host != "localhost" && !net.ParseIP(host).IsLoopback() {
		return notLoopback(o.listen)
	}
	return nil
}

func notLoopback(address string) error {
	return usage("Give --tls-cert and --tls-key, or listen on 127.0.0.1 behind a proxy that has a certificate.",
		"--listen %s: without a certificate the server serves this machine alone", address)
}

// serve runs the server until ctx ends.
func (o *serveOptions) serve(ctx context.Context, stdout, stderr io.Writer) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	certificates, err := o.certificates()
	if err != nil {
		return err
	}
	mail, err := o.alarms.mail()
	if err != nil {
		return err
	}
	places, err := o.alarms.openPlaces()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, places.Close()) }()
	d, err := o.data.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()

	log := o.logger(stderr)
	if d.keyMade {
		log.Info("made the key file; keep a copy of it apart from the data", "file", o.data.keyFile)
	}
	sources, err := o.entropy.open(log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sources.Close()) }()
	s, err := server.New(ctx, server.Config{
		Store:   d.store,
		Keys:    d.keys,
		Now:     time.Now,
		Rand:    rand.Reader,
		Entropy: sources,
		Log:     log,
		Mail:    mail,
		Webhook: notify.Webhook{Private: o.alarms.private},
		Places:  places,
	})
	if err != nil {
		return err
	}
	listener, err := o.listener(ctx, certificates)
	if err != nil {
		return err
	}
	if err := o.ready(stdout, listener.Addr(), d); err != nil {
		return errors.Join(err, listener.Close())
	}
	h := server.NewHTTPServer(s.Handler(), log)
	h.RegisterOnShutdown(s.Close)
	defer delivering(ctx, s)()
	return serveUntil(ctx, h, listener, certificates, s.Failed())
}

func (o *serveOptions) certificates() (*tls.Config, error) {
	if o.tlsCert == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(o.tlsCert, o.tlsKey)
	if err != nil {
		return nil, fail(exitFailed, "Both are PEM files, the certificate's chain first to last.", "--tls-cert %s, --tls-key %s: %v", o.tlsCert, o.tlsKey, err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
}

func (o *serveOptions) logger(w io.Writer) *slog.Logger {
	if o.json {
		return slog.New(slog.NewJSONHandler(w, nil))
	}
	return slog.New(slog.NewTextHandler(w, nil))
}

// listener opens the address. A name may mean anything, so what it turned out to
// be is checked once more.
func (o *serveOptions) listener(ctx context.Context, certificates *tls.Config) (net.Listener, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.listen)
	if err != nil {
		return nil, fail(exitFailed, "Name an address of this machine and a port that is free.", "--listen %s: %v", o.listen, err)
	}
	if address, ok := listener.Addr().(*net.TCPAddr); certificates == nil && (!ok || !address.IP.IsLoopback()) {
		return nil, errors.Join(notLoopback(o.listen), listener.Close())
	}
	return listener, nil
}

// readyLine is what --json prints when the server is ready.
type readyLine struct {
	Ready       bool   `json:"ready"`
	URL         string `json:"url"`
	Fingerprint string `json:"fingerprint"`
	SignKey     string `json:"sign_key"` // hexadecimal
	KeyFileMade bool   `json:"key_file_made"`
}

// ready says that devices may come.
func (o *serveOptions) ready(w io.Writer, address net.Addr, d *data) error {
	scheme := "http"
	if o.tlsCert != "" {
		scheme = "https"
	}
	line := readyLine{
		Ready:       true,
		URL:         scheme + "://" + address.String(),
		Fingerprint: d.keys.Fingerprint(),
		SignKey:     fmt.Sprintf("%x", d.keys.SignKey().Bytes()),
		KeyFileMade: d.keyMade,
	}
	if o.json {
		return json.NewEncoder(w).Encode(line)
	}
	_, err := fmt.Fprintf(w, "zeropass-server is ready at %s, key fingerprint %s\n", line.URL, line.Fingerprint)
	return err
}

// serveUntil serves until ctx ends or the store fails. Requests under way may
// end.
func serveUntil(ctx context.Context, h *http.Server, listener net.Listener, certificates *tls.Config, failed <-chan struct{}) error {
	served := make(chan error, 1)
	go func() {
		if certificates != nil {
			h.TLSConfig = certificates
			served <- h.ServeTLS(listener, "", "")
			return
		}
		served <- h.Serve(listener)
	}()
	var stopped error
	select {
	case err := <-served:
		return err
	case <-failed:
		stopped = store.ErrFailed
	case <-ctx.Done():
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	if err := h.Shutdown(ending); err != nil {
		// Somebody is too slow. What was acknowledged is durable.
		stopped = errors.Join(stopped, h.Close())
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		stopped = errors.Join(stopped, err)
	}
	return stopped
}
