package server_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/notify"
	"zeropass.dev/zeropass/internal/server"
	"zeropass.dev/zeropass/internal/store"
)

// seen keeps what an observer and a tracer are told.
type seen struct {
	mu       sync.Mutex
	outcomes []string // "procedure reason"
	traced   []string // text of errors
}

func (s *seen) observe(o server.Outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outcomes = append(s.outcomes, o.Procedure+" "+o.Reason)
}

// last waits for the newest outcome: the device may have its answer first.
func (s *seen) last(t *testing.T, want string) {
	t.Helper()
	for until := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		have := slices.Clone(s.outcomes)
		s.mu.Unlock()
		if len(have) > 0 && have[len(have)-1] == want {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("the outcomes are %q, want %q last", have, want)
		}
	}
}

func (s *seen) tracer() connect.Interceptor {
	return connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
			answer, err := next(ctx, r)
			if err != nil {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.traced = append(s.traced, err.Error())
			}
			return answer, err
		}
	})
}

func TestOutcomes(t *testing.T) {
	w := newWorld(t)
	s := &seen{}
	w.configure = func(c *server.Config) { c.Observe, c.Tracing = s.observe, s.tracer() }
	w.restart()
	w.ok(w.register("ada", nil)())
	s.last(t, "CreateAccount ok")
	refusal := w.refused(w.register("ada", nil)(), api.ErrNameTaken)
	s.last(t, "CreateAccount name_taken")
	if !strings.Contains(refusal.Message, "choose another name") {
		t.Errorf("the device is told %q", refusal)
	}
	if s.traced[0] != "already_exists: name_taken" {
		t.Errorf("a trace says %q", s.traced)
	}

	post := func(procedure, body string) {
		t.Helper()
		response, err := w.http.Client().Post(w.http.URL+procedure, "application/proto", strings.NewReader(body))
		w.ok(err)
		w.ok(response.Body.Close())
	}
	post(apiv1connect.ServerServiceRevealProcedure, "\xff\xff")
	s.last(t, "Reveal unread")
	post("/ada", "")
	s.last(t, "other unread")
	post(apiv1connect.ServerServiceRevealProcedure, "")
	s.last(t, "Reveal malformed")
	for _, o := range slices.Concat(s.outcomes, s.traced) {
		if strings.Contains(o, "ada") {
			t.Errorf("%q names an account", o)
		}
	}
}

// While it stops the server refuses what is new, and nothing that is under way.
func TestDrain(t *testing.T) {
	w := newWorld(t)
	s := &seen{}
	w.configure = func(c *server.Config) { c.Observe = s.observe }
	w.restart()
	body, finish := newSlowBody()
	answered := make(chan *http.Response, 1)
	go func() {
		response, err := w.http.Client().Post(w.http.URL+apiv1connect.ServerServiceIdentifyProcedure, "application/json", body)
		if err != nil {
			close(answered)
			return
		}
		answered <- response
	}()
	for w.server.UnderWay() == 0 {
		time.Sleep(time.Millisecond)
	}
	w.server.Drain()
	refused, err := w.http.Client().Post(w.http.URL+apiv1connect.ServerServiceCreateAccountProcedure, "application/proto", nil)
	w.ok(err)
	w.ok(refused.Body.Close())
	if retry := refused.Header.Get("Retry-After"); refused.StatusCode != http.StatusServiceUnavailable || retry != "1" {
		t.Errorf("a new request ends with %s, to come again after %q", refused.Status, retry)
	}
	s.last(t, "CreateAccount unavailable")
	finish(`{"nonce":"AAAAAAAAAAAAAAAAAAAAAA=="}`)
	response := <-answered
	if response == nil || response.StatusCode != http.StatusOK {
		t.Fatalf("what was under way ends with %v", response)
	}
	w.ok(response.Body.Close())
	s.last(t, "Identify ok")
	if n := w.server.UnderWay(); n != 0 {
		t.Errorf("%d requests are under way", n)
	}
}

// slowBody is a request's body that comes late.
type slowBody struct {
	text chan string
	left *strings.Reader
}

func newSlowBody() (body *slowBody, finish func(string)) {
	b := &slowBody{text: make(chan string, 1)}
	return b, func(text string) { b.text <- text }
}

func (b *slowBody) Read(p []byte) (int, error) {
	if b.left == nil {
		b.left = strings.NewReader(<-b.text)
	}
	return b.left.Read(p)
}

// starting is a store that stops the server when deliveries have begun.
type starting struct {
	store.Store
	stop func()
}

func (s *starting) Begin(ctx context.Context, now time.Time, lease time.Duration, most int, busy ...store.Place) ([]store.Delivery, error) {
	deliveries, err := s.Store.Begin(ctx, now, lease, most, busy...)
	if len(deliveries) > 0 {
		s.stop()
	}
	return deliveries, err
}

// A server that stops ends the deliveries that it has begun, and begins no other.
func TestStopsBetweenDeliveries(t *testing.T) {
	w := newAlarmed(t)
	begun := &starting{}
	w.wrap = func(inner store.Store) store.Store { begun.Store = inner; return begun }
	w.restart()
	owner, _ := w.family()
	w.ok(owner.set(&apiv1.AlarmSettings{Webhook: w.hook.URL, WebhookSecret: random(notify.SecretSize)}))
	ctx, cancel := context.WithCancel(t.Context())
	begun.stop = cancel
	w.server.Deliver(ctx)
	if n := len(w.hook.Posts()); n != 1 {
		t.Errorf("%d were delivered", n)
	}
	if b := must(w.store.Backlog(t.Context())); b.Deliveries != 0 {
		t.Errorf("%d wait", b.Deliveries)
	}
}
