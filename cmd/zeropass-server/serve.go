package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"zeropass.dev/zeropass/internal/notify"
	"zeropass.dev/zeropass/internal/server"
)

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
URL or from PostgreSQL's environment, sslmode and PGSSLMODE for one.

With --moved-to it opens no data: it tells every device, signed, where the server is
now. Devices go there by themselves if what answers there has the same keys.` + settingsUsage

// serveOptions are the flags of serve.
type serveOptions struct {
	data            dataOptions
	listen          string
	tlsCert, tlsKey string
	acme            acmeOptions
	adminListen     string
	drain           time.Duration
	registration    registration
	quota           server.Quota
	movedTo         string
	proxies         proxyOptions
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
	o.acme.add(flags)
	o.proxies.add(flags)
	flags.StringVar(&o.adminListen, "admin-listen", "", "address and port for /livez, /readyz and /metrics, 127.0.0.1:9440 for one; not for the public")
	flags.DurationVar(&o.drain, "drain", 0, "how long /readyz says no before the server refuses requests when it stops, so that whoever balances load notices")
	flags.Var(&o.registration, "registration", "who may make an account: open to everybody, token for whoever has one of yours (zeropass-server token create), or closed")
	flags.IntVar(&o.quota.Slots, "quota-slots", 0, "how many secrets an account may have, 0 for as many as it likes")
	flags.Int64Var(&o.quota.Bytes, "quota-bytes", 0, "how large an account's ledger may be with new secrets, in bytes, 0 for as large as it likes")
	flags.StringVar(&o.movedTo, "moved-to", "", "the server has moved from here to this address, https://zeropass.example for one: tell devices so, and do nothing else")
	o.entropy.add(flags)
	o.alarms.add(flags)
	flags.BoolVar(&o.json, "json", false, "print and log JSON")
}

// check refuses flags that do not fit together.
func (o *serveOptions) check() error {
	if o.movedTo != "" {
		if err := o.checkMoved(); err != nil {
			return err
		}
	} else if err := o.data.check("serve"); err != nil {
		return err
	}
	for _, flag := range []struct{ name, value, example string }{
		{"listen", o.listen, "127.0.0.1:8440"},
		{"key-file", o.data.keyPath(), "/etc/zeropass/server-keys"},
	} {
		if flag.value == "" {
			return usage(fmt.Sprintf("For instance --%s %s", flag.name, flag.example), "serve needs --%s", flag.name)
		}
	}
	if (o.tlsCert == "") != (o.tlsKey == "") {
		return usage("Give both, or none for this machine alone.", "--tls-cert and --tls-key belong together")
	}
	if err := o.acme.check(o.tlsCert); err != nil {
		return err
	}
	if _, err := o.proxies.proxies(); err != nil {
		return err
	}
	if o.drain < 0 || o.drain > maxDrain {
		return usage("For instance --drain 5s", "--drain %s: at most %s", o.drain, maxDrain)
	}
	if err := checkAdmin(o.adminListen, o.listen); err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(o.listen)
	if err != nil {
		return usage("An address looks like 127.0.0.1:8440 or [::1]:8440.", "--listen %s: not an address and a port", o.listen)
	}
	if !o.isTLS() && host != "localhost" && !net.ParseIP(host).IsLoopback() {
		return notLoopback(o.listen)
	}
	return nil
}

// registration is a flag of three words.
type registration struct{ value server.Registration }

var registrations = []string{server.RegistrationOpen: "open", server.RegistrationToken: "token", server.RegistrationClosed: "closed"}

func (r *registration) String() string { return registrations[r.value] }
func (r *registration) Type() string   { return "open|token|closed" }
func (r *registration) Set(word string) error {
	i := slices.Index(registrations, word)
	if i < 0 {
		return errValue
	}
	r.value = server.Registration(i)
	return nil
}

func notLoopback(address string) error {
	return usage("Give --tls-cert and --tls-key, or --acme-domain, or listen on 127.0.0.1 behind a proxy that has a certificate.",
		"--listen %s: without a certificate the server serves this machine alone", address)
}

// serve runs the server until ctx ends.
func (o *serveOptions) serve(ctx context.Context, stdout, stderr io.Writer) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	if o.movedTo != "" {
		return o.serveMoved(ctx, stdout, stderr)
	}
	certificates, err := o.certificates()
	if err != nil {
		return err
	}
	proxies, err := o.proxies.proxies()
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
		log.Info("made the key file; keep a copy of it apart from the data", "file", o.data.keyPath())
	}
	if err := o.data.database.warn(log); err != nil {
		return err
	}
	defer d.followKeys(log)()
	sources, err := o.entropy.open(log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sources.Close()) }()
	tracing, flush, err := openTracing(ctx, log)
	if err != nil {
		return err
	}
	defer flush()
	measured := newMetrics()
	d.store.Observe(measured.transaction)
	s, err := server.New(ctx, server.Config{
		Store:        d.store,
		Keys:         d.keys,
		Now:          time.Now,
		Rand:         rand.Reader,
		Entropy:      sources,
		Log:          log,
		Mail:         mail,
		Webhook:      notify.Webhook{Private: o.alarms.private},
		Places:       places,
		Registration: o.registration.value,
		Quota:        o.quota,
		Observe:      measured.request,
		Tracing:      tracing,
	})
	if err != nil {
		return err
	}
	healthy := &health{store: d.store, sources: sources, allowOS: o.entropy.allowOS, failed: s.Failed(), follows: s.Follows}
	return o.answer(ctx, stdout, d, measured, &running{
		server: s, health: healthy, http: proxies.NewHTTPServer(s.Handler(), log),
		certificates: certificates, drain: o.drain, manager: newSystemd(log), log: log,
	})
}

// answer opens the listeners, says that devices may come, and serves until ctx ends.
func (o *serveOptions) answer(ctx context.Context, stdout io.Writer, d *data, measured *metrics, r *running) (err error) {
	spreadOut()
	defer runtime.KeepAlive(collectLater())
	measured.registry.MustRegister(&watched{server: r.server, health: r.health, certificates: r.certificates})
	admin, err := openAdmin(ctx, o.adminListen, r.health, measured, r.log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, admin.close()) }()
	if r.listener, err = o.listener(ctx, r.certificates != nil); err != nil {
		return err
	}
	if err := o.ready(stdout, r.listener.Addr(), admin.url(), d); err != nil {
		return errors.Join(err, r.listener.Close())
	}
	o.proxies.warn(r.log, o.isTLS())
	return o.run(ctx, r)
}

// run serves, with what goes on beside it.
func (o *serveOptions) run(ctx context.Context, r *running) error {
	beside, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	if o.movedTo == "" {
		group.Go(func() { r.server.Deliver(beside) })
	}
	watching, stopWatching := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWatching()
	group.Go(func() { r.manager.watchdog(watching, func() { r.server.Streams() }) })
	if r.certificates != nil {
		group.Go(func() { r.certificates.watch(watching, r.log) })
	}
	r.manager.say("READY=1")
	return r.until(ctx)
}

// isTLS says whether there is a certificate, or one to get.
func (o *serveOptions) isTLS() bool { return o.tlsCert != "" || len(o.acme.domains) > 0 }

// certificates returns nil where there is no TLS.
func (o *serveOptions) certificates() (*certificates, error) {
	switch {
	case len(o.acme.domains) > 0:
		return o.acme.open()
	case o.tlsCert != "":
		return openCertificates(o.tlsCert, o.tlsKey)
	}
	return nil, nil
}

func (o *serveOptions) logger(w io.Writer) *slog.Logger {
	if o.json {
		return slog.New(slog.NewJSONHandler(w, nil))
	}
	return slog.New(slog.NewTextHandler(w, nil))
}

// listener opens the address. A name may mean anything, so what it turned out to
// be is checked once more.
func (o *serveOptions) listener(ctx context.Context, public bool) (net.Listener, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.listen)
	if err != nil {
		return nil, fail(exitFailed, "Name an address of this machine and a port that is free.", "--listen %s: %v", o.listen, err)
	}
	if address, ok := listener.Addr().(*net.TCPAddr); !public && (!ok || !address.IP.IsLoopback()) {
		return nil, errors.Join(notLoopback(o.listen), listener.Close())
	}
	return listener, nil
}

// readyLine is what --json prints when the server is ready.
type readyLine struct {
	Ready       bool   `json:"ready"`
	URL         string `json:"url"`
	AdminURL    string `json:"admin_url,omitempty"`
	Fingerprint string `json:"fingerprint"`
	SignKey     string `json:"sign_key"` // hexadecimal
	KeyFileMade bool   `json:"key_file_made"`
	MovedTo     string `json:"moved_to,omitempty"`
}

// ready says that devices may come.
func (o *serveOptions) ready(w io.Writer, address net.Addr, admin string, d *data) error {
	scheme := "http"
	if o.isTLS() {
		scheme = "https"
	}
	line := readyLine{
		Ready:       true,
		URL:         scheme + "://" + address.String(),
		AdminURL:    admin,
		Fingerprint: d.keys.Fingerprint(),
		SignKey:     fmt.Sprintf("%x", d.keys.SignKey().Bytes()),
		KeyFileMade: d.keyMade,
		MovedTo:     o.movedTo,
	}
	if o.json {
		return json.NewEncoder(w).Encode(line)
	}
	_, err := fmt.Fprintf(w, "zeropass-server is ready at %s, key fingerprint %s\n", line.URL, line.Fingerprint)
	return err
}
