package systemtest

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"connectrpc.com/connect"
	"connectrpc.com/otelconnect"
	"go.opentelemetry.io/otel/sdk/trace"

	"zeropass.dev/zeropass/internal/logtest"
	"zeropass.dev/zeropass/internal/server"
)

// said is everything that a server tells its operator: its log with all levels, how
// requests ended, and their traces. When a test ends nothing of anybody's is in it.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *said) bytes() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.text.Bytes())
}

func (s *said) log() *slog.Logger {
	return slog.New(slog.NewJSONHandler(s, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (s *said) observe(o server.Outcome) { _, _ = fmt.Fprintf(s, "%+v\n", o) }

// tracing is what the program has (cmd/zeropass-server/tracing.go), with another
// receiver.
func (s *said) tracing(t *testing.T) connect.Interceptor {
	t.Helper()
	interceptor, err := otelconnect.NewInterceptor(otelconnect.WithTracerProvider(trace.NewTracerProvider(trace.WithSyncer(s))), otelconnect.WithoutMetrics())
	must(t, err)
	return interceptor
}

// ExportSpans implements [trace.SpanExporter].
func (s *said) ExportSpans(_ context.Context, spans []trace.ReadOnlySpan) error {
	for _, span := range spans {
		_, _ = fmt.Fprintf(s, "span %q %v %+v %+v %+v\n", span.Name(), span.Status(), span.Attributes(), span.Events(), span.Links())
	}
	return nil
}

// Shutdown implements [trace.SpanExporter].
func (s *said) Shutdown(context.Context) error { return nil }

// titles are what tests have stored, and what was secret in it.
var titles struct {
	sync.Mutex
	all map[string]bool
}

func keepUnsaid(texts ...string) {
	titles.Lock()
	defer titles.Unlock()
	if titles.all == nil {
		titles.all = map[string]bool{}
	}
	for _, text := range texts {
		if len(text) > 7 { // shorter ones are words of the log, too
			titles.all[text] = true
		}
	}
}

// unsaid is what no server knows, and its own keys.
func unsaid(t *testing.T, keys *server.Keys) []string {
	t.Helper()
	titles.Lock()
	defer titles.Unlock()
	all := append(logtest.Keys(t, keys), passphrase, confirmPassphrase)
	for text := range titles.all {
		all = append(all, text)
	}
	return all
}
