package server

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	"zeropass.dev/zeropass/internal/api"
)

// Outcome is how a request ended. Nothing in it says whose it was.
type Outcome struct {
	Procedure string // Reveal for one; "other" for what is none
	// Reason is that of a refusal in small letters, name_taken for one; "ok" for an
	// answer, "unread" for what is no request of the API or too large, and "gone"
	// for who did not wait.
	Reason string
	Took   time.Duration
	Stream bool // it took as long as the device wanted
}

// Drain makes the server refuse new requests and those that wait for a place, and
// ends all streams. What is worked on goes on.
func (s *Server) Drain() {
	s.draining.Store(true)
	s.admission.close()
	s.Close()
}

// UnderWay returns how many requests are being answered, streams not among them.
func (s *Server) UnderWay() int { return int(s.underWay.Load()) }

// Streams returns how many streams of hints are open.
func (s *Server) Streams() int { return s.hub.count() }

// outcomeKey is where a request's context has its *outcome.
type outcomeKey struct{}

// outcome is filled in while a request is answered.
type outcome struct {
	procedure string
	begun     time.Time
	stream    bool

	reason string
	told   error // to the device, while others see the reason alone
}

// observed counts requests, and refuses them when the server stops. Streams stay in
// it, so it is small on their stacks.
func (s *Server) observed(next http.Handler) http.Handler {
	procedures := map[string]string{}
	methods := apiv1.File_zeropass_api_v1_service_proto.Services().ByName("ServerService").Methods()
	for i := range methods.Len() {
		name := string(methods.Get(i).Name())
		procedures["/"+apiv1connect.ServerServiceName+"/"+name] = name
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, known := procedures[r.URL.Path]
		if !known {
			name = "other"
		}
		o := &outcome{reason: "unread", begun: time.Now(), procedure: name, stream: r.URL.Path == apiv1connect.ServerServiceWatchProcedure}
		defer s.end(o)
		if s.draining.Load() {
			s.refuseDraining(w, r, o)
			return
		}
		if !o.stream {
			s.underWay.Add(1)
			defer s.underWay.Add(-1)
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), outcomeKey{}, o)))
	})
}

func (s *Server) end(o *outcome) {
	s.observe(Outcome{Procedure: o.procedure, Reason: o.reason, Took: time.Since(o.begun), Stream: o.stream})
}

func (s *Server) refuseDraining(w http.ResponseWriter, r *http.Request, o *outcome) {
	o.reason = reasonName(api.ErrUnavailable)
	w.Header().Set("Connection", "close")
	w.Header().Set("Retry-After", strconv.Itoa(retrySeconds)) // there may be another one soon
	_ = refusals.Write(w, r, api.Refuse(api.ErrUnavailable, "the server stops; try again").Connect(s.keys.sign, nil, s.now()))
}

// setReason says how a request ended that no handler has seen.
func setReason(r *http.Request, reason string) {
	if o, ok := r.Context().Value(outcomeKey{}).(*outcome); ok {
		o.reason = reason
	}
}

func reasonName(r api.Reason) string {
	return strings.ToLower(strings.TrimPrefix(apiv1.Reason(r).String(), "REASON_"))
}

// reasonOf names how a handler ended.
func reasonOf(err error) string {
	if err == nil {
		return "ok"
	}
	var failure *connect.Error
	if errors.As(err, &failure) {
		for _, d := range failure.Details() {
			if value, err := d.Value(); err == nil {
				if refusal, ok := value.(*apiv1.Refusal); ok {
					return reasonName(api.Reason(refusal.Reason))
				}
			}
		}
	}
	if connect.CodeOf(err) == connect.CodeCanceled {
		return "gone"
	}
	return strings.ToLower(connect.CodeOf(err).String())
}

// interceptors are what stands between HTTP and the handlers.
func (s *Server) interceptors() []connect.Interceptor {
	list := []connect.Interceptor{ended{func(o *outcome, err error) error {
		if o.told != nil {
			err = o.told
		}
		o.reason = reasonOf(err)
		return err
	}}}
	if s.tracing != nil {
		// Messages are the device's: a trace has the reason.
		list = append(list, s.tracing, ended{func(o *outcome, err error) error {
			if o.told = err; err == nil {
				return nil
			}
			return connect.NewError(connect.CodeOf(err), errors.New(reasonOf(err)))
		}})
	}
	return list
}

// ended is an interceptor that sees how requests end.
type ended struct{ see func(*outcome, error) error }

func (e ended) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, request connect.AnyRequest) (connect.AnyResponse, error) {
		answer, err := next(ctx, request)
		if err = e.end(ctx, err); err != nil {
			return nil, err
		}
		return answer, nil
	}
}

func (e ended) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (e ended) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, stream connect.StreamingHandlerConn) error {
		return e.end(ctx, next(ctx, stream))
	}
}

func (e ended) end(ctx context.Context, err error) error {
	if o, ok := ctx.Value(outcomeKey{}).(*outcome); ok {
		return e.see(o, err)
	}
	return err
}
