package server

import (
	"crypto/hmac"
	"crypto/sha256"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/time/rate"

	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	"zeropass.dev/zeropass/internal/api"
)

// Limits of what one remote may ask for. This machine is exempt: it is the
// operator, or a proxy that speaks for many.
const (
	remoteRate  = 20 // requests a second
	remoteBurst = 400
	maxRemotes  = 1 << 16 // that are remembered

	// Starting a recovery takes no more than an account's name, and each one
	// alarms its owner and all contacts. People start one, rarely another. The same
	// goes for devices that ask to be added.
	startRate  = 10.0 / 3600
	startBurst = 10
)

// Limits of what is under way at a time, so that bodies in memory are bounded.
const (
	maxRequests = 512
	maxLarge    = 16
	queueTime   = 10 * time.Second
)

// messageLimit is the greatest message that is read for a procedure: its body,
// and room for header, signatures and confirmations.
func messageLimit(procedure string) int { return api.BodyLimit(procedure) + 16<<10 }

// limited refuses before anything is read: too many requests of one remote, and
// more at once than the server can hold.
func (s *Server) limited(next http.Handler) http.Handler {
	all, large := make(chan struct{}, maxRequests), make(chan struct{}, maxLarge)
	refused := connect.NewErrorWriter()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.remotes.allow(r.RemoteAddr, time.Now()) {
			w.Header().Set("Retry-After", "10")
			_ = refused.Write(w, r, api.Refuse(api.ErrRateLimited, "too many requests from this address; wait a little").Connect(s.keys.sign, nil, s.now()))
			return
		}
		// JSON is larger than the message that it stands for, by a third at most
		// where it is bytes.
		r.Body = http.MaxBytesReader(w, r.Body, int64(messageLimit(r.URL.Path))*3/2)
		if r.URL.Path == apiv1connect.ServerServiceWatchProcedure {
			// It holds nothing up while it waits; the hub has bounds of its own.
			next.ServeHTTP(w, streaming(w, r))
			return
		}
		lanes := []chan struct{}{all}
		if strings.HasSuffix(r.URL.Path, apiv1connect.ServerServiceAppendProcedure) || strings.HasSuffix(r.URL.Path, apiv1connect.ServerServiceProposeProcedure) {
			lanes = append(lanes, large)
		}
		for _, lane := range lanes {
			select {
			case lane <- struct{}{}:
				defer func() { <-lane }()
			case <-r.Context().Done():
				return
			case <-time.After(queueTime):
				_ = refused.Write(w, r, api.Refuse(api.ErrUnavailable, "the server is busy; try again").Connect(s.keys.sign, nil, s.now()))
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// remotes limits how often each remote may ask.
type remotes struct {
	mu       sync.Mutex
	limiters map[netip.Prefix]*rate.Limiter
	rate     rate.Limit
	burst    int
}

func newRemotes(limit rate.Limit, burst int) *remotes {
	return &remotes{limiters: map[netip.Prefix]*rate.Limiter{}, rate: limit, burst: burst}
}

func (m *remotes) allow(address string, now time.Time) bool { return m.wait(address, now) == 0 }

// wait returns how long a remote has to wait, zero if it may go on, which counts.
func (m *remotes) wait(address string, now time.Time) time.Duration {
	remote, local := remoteOf(address)
	if local {
		return 0
	}
	m.mu.Lock()
	l, ok := m.limiters[remote]
	if !ok {
		if len(m.limiters) >= maxRemotes {
			m.forget(now)
		}
		l = rate.NewLimiter(m.rate, m.burst)
		m.limiters[remote] = l
	}
	m.mu.Unlock()
	r := l.ReserveN(now, 1)
	delay := r.DelayFrom(now)
	if delay > 0 {
		r.CancelAt(now)
	}
	return delay
}

// forget drops everybody who has been quiet, and if that is nobody, everybody:
// memory is bounded, fairness under attack is not promised.
func (m *remotes) forget(now time.Time) {
	for remote, l := range m.limiters {
		if l.TokensAt(now) >= float64(m.burst) {
			delete(m.limiters, remote)
		}
	}
	if len(m.limiters) >= maxRemotes {
		clear(m.limiters)
	}
}

// source stands for the network that a request came from. Only the server can
// tell which one it is: the store keeps no addresses but in alarms that wait.
func (s *Server) source(address string) []byte {
	remote, _ := remoteOf(address)
	if remote.Addr().Is6() {
		remote = netip.PrefixFrom(remote.Addr(), 48).Masked() // one customer of a provider has no more
	}
	mac := hmac.New(sha256.New, s.sources)
	_, _ = mac.Write([]byte(remote.String()))
	return mac.Sum(nil)[:16]
}

// remoteOf returns what counts as one remote, an IPv4 address or an IPv6 network
// of 64 bits, and whether it is this machine.
func remoteOf(address string) (remote netip.Prefix, local bool) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Prefix{}, false
	}
	ip = ip.Unmap().WithZone("")
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	remote, err = ip.Prefix(bits)
	return remote, err == nil && ip.IsLoopback()
}
