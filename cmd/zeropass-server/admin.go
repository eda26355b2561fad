package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"zeropass.dev/zeropass/internal/entropy"
	"zeropass.dev/zeropass/internal/store"
)

// answerTime is how long the store may take to be found ready.
const answerTime = 3 * time.Second

// followTime is for how long what other servers change may not be seen: longer than
// a look may take that has to wait.
const followTime = 10 * time.Second

// health says whether requests should be sent here.
type health struct {
	store    store.Store // nil where the server has moved from
	sources  *entropy.Service
	allowOS  bool
	failed   <-chan struct{}
	follows  func() (follows bool, behind time.Duration) // nil without data
	stopping atomic.Bool
}

// check returns what is wrong, nothing if the server is ready.
func (h *health) check(ctx context.Context) []string {
	var wrong []string
	if h.stopping.Load() {
		wrong = append(wrong, "the server stops")
	}
	select {
	case <-h.failed:
		wrong = append(wrong, "the store has failed")
	default:
		if h.store == nil {
			break
		}
		ctx, cancel := context.WithTimeout(ctx, answerTime)
		defer cancel()
		if _, err := h.store.Backlog(ctx); err != nil {
			wrong = append(wrong, "the store does not answer")
		}
	}
	if h.follows != nil {
		if _, behind := h.follows(); behind > followTime {
			wrong = append(wrong, "what other servers change cannot be followed: streams say nothing of it")
		}
	}
	if !h.allowOS && !slices.ContainsFunc(h.sources.Status(), func(s entropy.Status) bool { return s.Sound }) {
		wrong = append(wrong, entropy.ErrNoPhysical.Error())
	}
	return wrong
}

func (h *health) readyz(w http.ResponseWriter, r *http.Request) {
	wrong := h.check(r.Context())
	if len(wrong) > 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = fmt.Fprintln(w, strings.Join(wrong, "\n"))
		return
	}
	_, _ = fmt.Fprintln(w, "ready")
}

// admin is the listener for operators: it has no secrets, no names and no ids, and
// is not for everybody all the same.
type admin struct {
	listener net.Listener
	http     *http.Server
	done     chan error
}

// checkAdmin wants an address that no stranger reaches.
func checkAdmin(address, listen string) error {
	if address == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return usage("An address looks like 127.0.0.1:9440 or [::1]:9440.", "--admin-listen %s: not an address and a port", address)
	}
	if ip := net.ParseIP(host); host != "localhost" && !ip.IsLoopback() && !ip.IsPrivate() {
		return usage("Name an address of this machine or of a private network, 127.0.0.1:9440 for one.", "--admin-listen %s: what stands there is not for the public", address)
	}
	if address == listen && port != "0" {
		return usage("Give it a port of its own.", "--admin-listen and --listen are the same address")
	}
	return nil
}

// openAdmin serves operators until it is closed; nil without an address.
func openAdmin(ctx context.Context, address string, h *health, m *metrics, log *slog.Logger) (*admin, error) {
	if address == "" {
		return nil, nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fail(exitFailed, "Name an address of this machine and a port that is free.", "--admin-listen %s: %v", address, err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "alive") })
	mux.HandleFunc("GET /readyz", h.readyz)
	mux.HandleFunc("GET /profile", profile)
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: 4,
	}))
	a := &admin{listener: listener, done: make(chan error, 1), http: &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}}
	go func() { a.done <- a.http.Serve(listener) }()
	return a, nil
}

// url returns the address of the listener, nothing without one.
func (a *admin) url() string {
	if a == nil {
		return ""
	}
	return "http://" + a.listener.Addr().String()
}

func (a *admin) close() error {
	if a == nil {
		return nil
	}
	err := a.http.Close()
	if served := <-a.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
