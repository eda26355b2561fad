package server

import (
	"bufio"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	"zeropass.dev/zeropass/internal/api"
)

// withoutStore is a server that has no data, and a handler with its limits.
func withoutStore(t testing.TB, handler http.Handler) (*Server, http.Handler) {
	t.Helper()
	keys, err := GenerateKeys(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(t.Context(), Config{Keys: keys, Now: time.Now, Rand: rand.Reader, Log: slog.New(slog.DiscardHandler), MovedTo: "https://new.example"})
	if err != nil {
		t.Fatal(err)
	}
	if handler == nil {
		return s, s.MovedHandler()
	}
	return s, s.observed(s.limited(handler))
}

// fillQueues makes the server too busy for any request.
func fillQueues(s *Server) {
	for c := range classes {
		s.admission.queues[c].length = s.admission.bounds.queue
	}
}

// A busy server says so to each kind of client in the form that it reads.
func TestBusy(t *testing.T) {
	s, handler := withoutStore(t, nil)
	fillQueues(s)
	h := httptest.NewServer(handler)
	defer h.Close()
	defer h.Client().CloseIdleConnections()
	for name, options := range map[string][]connect.ClientOption{
		"protobuf": nil,
		"JSON":     {connect.WithProtoJSON()},
		"gRPC":     {connect.WithGRPC()},
		"gRPC-Web": {connect.WithGRPCWeb()},
	} {
		rpc := apiv1connect.NewServerServiceClient(h.Client(), h.URL, options...)
		_, err := rpc.Reveal(t.Context(), connect.NewRequest(&apiv1.SignedRequest{}))
		check := func(procedure string, err error) {
			var refusal *api.Refusal
			if err = api.FromConnect(s.keys.SignKey(), [32]byte{}, err); !errors.As(err, &refusal) {
				t.Errorf("%s, %s: %v", name, procedure, err)
			} else if refusal.Reason != api.ErrUnavailable || refusal.Message != busy.Message || refusal.Signed || name != "gRPC" && refusal.RetryAfter != time.Second {
				t.Errorf("%s, %s: %+v", name, procedure, refusal)
			}
		}
		check("Reveal", err)
		stream, err := rpc.Watch(t.Context(), connect.NewRequest(&apiv1.SignedRequest{}))
		if err == nil {
			for stream.Receive() {
				t.Errorf("%s: a hint", name)
			}
			err = stream.Err()
			_ = stream.Close()
		}
		check("Watch", err)
	}
}

// Whoever has no room for its answer is not told to send the same request again: it is
// spent.
func TestAnswersWithoutRoom(t *testing.T) {
	size := smallRequest + 1
	s, handler := withoutStore(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailing", "any")
		_, _ = w.Write(make([]byte, size))
	}))
	ask := func() *http.Response {
		r := httptest.NewRequest(http.MethodPost, apiv1connect.ServerServiceEntriesProcedure, strings.NewReader("{}"))
		r.Header.Set("Content-Type", "application/json")
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, r)
		return answer.Result()
	}
	s.answering.held = maxAnswers
	refused := ask()
	body, err := io.ReadAll(refused.Body)
	if err != nil || refused.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(body), "too much to do") {
		t.Errorf("%s, %q, %v", refused.Status, body, err)
	}
	if h := refused.Header; h.Get("Retry-After") != "" || h.Get("Trailing") != "" || h.Get("Content-Type") != "application/json" {
		t.Errorf("the headers are %v", h)
	}
	size = smallRequest
	if small := ask(); small.StatusCode != http.StatusOK {
		t.Errorf("a small answer: %s", small.Status)
	}
	size, s.answering.held = smallRequest+1, 0
	if large := ask(); large.StatusCode != http.StatusOK || s.answering.held != 0 || len(s.answering.byRemote) != 0 {
		t.Errorf("a large answer: %s, %d bytes held", large.Status, s.answering.held)
	}
}

// pipes is a listener for connections in memory.
type pipes struct {
	conns chan net.Conn
	ended chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.ended:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	close(p.ended)
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// Whoever is refused, and does not send what it has announced, has its connection for
// no longer than a body that is read; whoever sends it may ask again.
func TestRefusedBodiesThatDoNotCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, handler := withoutStore(t, nil)
		fillQueues(s)
		server := NewHTTPServer(handler, slog.New(slog.DiscardHandler))
		listener := &pipes{make(chan net.Conn), make(chan struct{})}
		served := make(chan error, 1)
		go func() { served <- server.Serve(listener) }()
		ours, theirs := net.Pipe()
		listener.conns <- theirs
		answers := bufio.NewReader(ours)
		ask := func(body string) {
			t.Helper()
			head := "POST " + apiv1connect.ServerServiceRevealProcedure + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/proto\r\nContent-Length: 4\r\n\r\n"
			if _, err := io.WriteString(ours, head+body); err != nil {
				t.Fatal(err)
			}
			answer, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err = io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("%s, %v", answer.Status, err)
			}
		}
		ask("some")
		time.Sleep(time.Minute) // the time of one request is not that of the next
		ask("some")
		begun := time.Now()
		ask("so")
		if _, err := answers.ReadByte(); err != io.EOF || time.Since(begun) != pieceTime {
			t.Errorf("the connection ends with %v after %v", err, time.Since(begun))
		}
		_ = server.Close()
		<-served
	})
}

// BenchmarkBusy is what it costs to refuse a request that is not read.
func BenchmarkBusy(b *testing.B) {
	s, handler := withoutStore(b, nil)
	fillQueues(s)
	r := httptest.NewRequest(http.MethodPost, apiv1connect.ServerServiceRevealProcedure, strings.NewReader("any"))
	r.RemoteAddr = "127.0.0.1:1"
	for _, kind := range []string{"application/proto", "application/grpc"} {
		b.Run(kind, func(b *testing.B) {
			r.Header.Set("Content-Type", kind)
			b.ReportAllocs()
			for b.Loop() {
				handler.ServeHTTP(&written{header: http.Header{}}, r)
			}
		})
	}
}
