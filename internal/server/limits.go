package server

import (
	"crypto/hmac"
	"crypto/sha256"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/time/rate"
	"google.golang.org/protobuf/proto"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

// Limits of what one remote may ask for. This machine is exempt: it is the
// operator, or a proxy that speaks for many.
const (
	remoteRate  = 20 // requests a second
	remoteBurst = 400
	maxRemotes  = 1 << 16 // that are remembered, and as many devices

	// One device may ask as fast as any program does, but not in a loop. Each has
	// its own, so that none takes anything from the others of its account. What
	// stops a thief, and what a recovery needs, has a reserve besides.
	deviceRate  = 20 // requests a second
	deviceBurst = 600
	urgentRate  = 1
	urgentBurst = 60

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
			setReason(r, reasonName(api.ErrRateLimited))
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
				setReason(r, "gone")
				return
			case <-time.After(queueTime):
				setReason(r, reasonName(api.ErrUnavailable))
				_ = refused.Write(w, r, api.Refuse(api.ErrUnavailable, "the server is busy; try again").Connect(s.keys.sign, nil, s.now()))
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// limiters limits how often each of many may ask.
type limiters[K comparable] struct {
	mu    sync.Mutex
	byKey map[K]*rate.Limiter
	rate  rate.Limit
	burst int
}

// wait returns how long one has to wait, zero if it may go on, which counts.
func (m *limiters[K]) wait(key K, now time.Time) time.Duration {
	m.mu.Lock()
	l, ok := m.byKey[key]
	if !ok {
		if m.byKey == nil {
			m.byKey = map[K]*rate.Limiter{}
		}
		if len(m.byKey) >= maxRemotes {
			m.forget(now)
		}
		l = rate.NewLimiter(m.rate, m.burst)
		m.byKey[key] = l
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
func (m *limiters[K]) forget(now time.Time) {
	for key, l := range m.byKey {
		if l.TokensAt(now) >= float64(m.burst) {
			delete(m.byKey, key)
		}
	}
	if len(m.byKey) >= maxRemotes {
		clear(m.byKey)
	}
}

// remotes limits how often each remote may ask.
type remotes struct{ limiters[netip.Prefix] }

func newRemotes(limit rate.Limit, burst int) *remotes {
	return &remotes{limiters[netip.Prefix]{rate: limit, burst: burst}}
}

func (m *remotes) allow(address string, now time.Time) bool { return m.wait(address, now) == 0 }

// wait is that of [limiters] for an address.
func (m *remotes) wait(address string, now time.Time) time.Duration {
	remote, local := remoteOf(address)
	if local {
		return 0
	}
	return m.limiters.wait(remote, now)
}

// devices limits how often each device may ask, by its sign key.
type devices struct {
	all, urgent limiters[[signing.PublicKeySize]byte]
}

func newDevices() *devices {
	type keys = limiters[[signing.PublicKeySize]byte]
	return &devices{all: keys{rate: deviceRate, burst: deviceBurst}, urgent: keys{rate: urgentRate, burst: urgentBurst}}
}

// check refuses a request of a device that has asked too often. The request's
// signature is good; whether any account has that key is not known yet.
func (m *devices) check(r *api.Request, body proto.Message, now time.Time) error {
	key := [signing.PublicKeySize]byte(r.Key.Bytes())
	wait := m.all.wait(key, now)
	if wait > 0 && isUrgent(body) {
		wait = m.urgent.wait(key, now)
	}
	if wait == 0 {
		return nil
	}
	refusal := api.Refuse(api.ErrRateLimited, "too many requests of this device; wait a little")
	refusal.RetryAfter = wait
	return refusal
}

// isUrgent says whether a request stops a thief or is a step of a recovery.
func isUrgent(body proto.Message) bool {
	switch q := body.(type) {
	case *apiv1.StartRecoveryRequest, *apiv1.RecoveryStatusRequest, *apiv1.ApproveRequest, *apiv1.ReleaseRequest:
		return true
	case *apiv1.AppendRequest:
		entries, err := parseEntries(q.Entries)
		return err == nil && slices.ContainsFunc(entries, func(e *ledger.Entry) bool {
			return slices.ContainsFunc(e.Records(), isUrgentRecord)
		})
	}
	return false
}

func isUrgentRecord(record *recordv1.Record) bool {
	switch record.Kind.(type) {
	case *recordv1.Record_DeviceLocked, *recordv1.Record_RecoveryVetoed, *recordv1.Record_Recovered:
		return true
	}
	return false
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
