package server

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/time/rate"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	"zeropass.dev/zeropass/internal/api"
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

// messageLimit is the greatest message that is read for a procedure: its body,
// and room for header, signatures and confirmations.
func messageLimit(procedure string) int { return api.BodyLimit(procedure) + 16<<10 }

// limited reads requests into memory, and refuses before that what is not going to
// be answered: too many requests of one remote, what is too large, and what the
// server has no time for.
func (s *Server) limited(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.remotes.allow(r.RemoteAddr, time.Now()) {
			s.turnAway(w, r, 10, api.Refuse(api.ErrRateLimited, "too many requests from this address; wait a little"))
			return
		}
		// Whether an Append is urgent is known when it is read.
		if r.URL.Path != apiv1connect.ServerServiceAppendProcedure && s.admission.full(classOfProcedure(r.URL.Path)) {
			s.turnAway(w, r, retrySeconds, busy)
			return
		}
		// JSON is larger than the message that it stands for, by a third at most
		// where it is bytes.
		b, err := s.intake.read(w, r, int64(messageLimit(r.URL.Path))*3/2)
		switch {
		case errors.Is(err, errBody):
			s.turnAway(w, r, 0, api.Refuse(api.ErrTooLarge, "a body of more than %d bytes", messageLimit(r.URL.Path)))
			return
		case errors.Is(err, errManyBytes):
			s.turnAway(w, r, 10, busy)
			return
		case err != nil:
			setReason(r, "gone")
			panic(http.ErrAbortHandler) // nobody waits for an answer
		}
		defer b.release()
		r.Body = b
		if r.URL.Path == apiv1connect.ServerServiceWatchProcedure {
			next.ServeHTTP(w, streaming(w, r)) // the hub has bounds of its own
			return
		}
		next.ServeHTTP(&answer{ResponseWriter: w, of: s.answering, address: r.RemoteAddr, refuse: func(w http.ResponseWriter) {
			// Without a time: the request may be spent, and is not to come again.
			s.turnAway(w, r, 0, busy)
		}}, r)
	})
}

// retrySeconds is after how long a device may come again that was refused because
// the server has too much to do. Devices add some of their own, each another.
const retrySeconds = 1

// busy refuses what nothing was done for. It is not signed: a refusal must cost much
// less than an answer, and the device draws no conclusion from it.
var busy = api.Refuse(api.ErrUnavailable, "the server has too much to do: try again in a moment")

// turnAway refuses a request that is not read, or whose answer has no room.
func (s *Server) turnAway(w http.ResponseWriter, r *http.Request, retry int, refusal *api.Refusal) {
	if retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(retry))
	}
	if r.ProtoMajor == 1 {
		if r.ContentLength < 0 || r.ContentLength > smallRequest {
			w.Header().Set("Connection", "close") // or the rest of the body would be read
		}
		// What is left of a small body is read, and the connection counts as busy
		// meanwhile.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(pieceTime))
	}
	setReason(r, reasonName(refusal.Reason))
	if refusal == busy && r.Method == http.MethodPost && slices.Contains(unaryTypes, r.Header.Get("Content-Type")) {
		maps.Copy(w.Header(), busyAnswer.header)
		w.WriteHeader(busyAnswer.status)
		_, _ = w.Write(busyAnswer.body)
		return
	}
	_ = refusals.Write(w, r, refusal.Connect(s.keys.sign, nil, s.now()))
}

var refusals = connect.NewErrorWriter()

// unaryTypes are the types of requests for which a refusal has the same form.
var unaryTypes = []string{"application/proto", "application/json"}

// busyAnswer is what refusals writes for busy. It takes much longer to make than to
// send.
var busyAnswer = func() *written {
	w := &written{header: http.Header{}}
	r := &http.Request{Method: http.MethodPost, Header: http.Header{"Content-Type": {unaryTypes[0]}}}
	_ = refusals.Write(w, r, busy.Connect(nil, nil, time.Time{})) // w takes everything
	return w
}()

// written is an answer in memory, whose header and body are not to be changed.
type written struct {
	header http.Header
	status int
	body   []byte
}

// Header implements [http.ResponseWriter].
func (w *written) Header() http.Header { return w.header }

// WriteHeader implements [http.ResponseWriter].
func (w *written) WriteHeader(status int) { w.status = status }

// Write implements [http.ResponseWriter].
func (w *written) Write(b []byte) (int, error) {
	w.body = append(w.body, b...)
	return len(b), nil
}

// enter takes a place for a request that is read; see [admission]. The caller gives it
// back with leave.
func (s *Server) enter(ctx context.Context, procedure string, message *apiv1.SignedRequest, address string) (context.Context, *place, error) {
	p := s.admission.enter(ctx, classOf(procedure, message), askerOf(message, address))
	if p == nil {
		refusal := busy.Connect(s.keys.sign, nil, s.now())
		refusal.Meta().Set("Retry-After", strconv.Itoa(retrySeconds))
		return nil, nil, refusal
	}
	return context.WithValue(ctx, placeKey{}, p), p, nil
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
func (m *devices) check(r *api.Request, c class, now time.Time) error {
	key := [signing.PublicKeySize]byte(r.Key.Bytes())
	wait := m.all.wait(key, now)
	if wait > 0 && c == classUrgent {
		wait = m.urgent.wait(key, now)
	}
	if wait == 0 {
		return nil
	}
	refusal := api.Refuse(api.ErrRateLimited, "too many requests of this device; wait a little")
	refusal.RetryAfter = wait
	return refusal
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
