package main

import (
	"context"
	"log/slog"
	"os"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/otelconnect"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
)

// flushTime is how long traces may take to leave when the server stops.
const flushTime = 5 * time.Second

// isTracing says whether OpenTelemetry's environment wants traces.
func isTracing() bool {
	return (os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != "") &&
		os.Getenv("OTEL_SDK_DISABLED") != "true" && os.Getenv("OTEL_TRACES_EXPORTER") != "none"
}

// openTracing sends traces over OTLP and HTTP, as OpenTelemetry's environment says:
// the procedure of each request, how it ended and how long it took. It does
// nothing unless that names a receiver.
func openTracing(ctx context.Context, log *slog.Logger) (_ connect.Interceptor, stop func(), _ error) {
	if !isTracing() {
		return nil, func() {}, nil
	}
	if protocol := os.Getenv("OTEL_EXPORTER_OTLP_PROTOCOL"); protocol != "" && protocol != "http/protobuf" {
		return nil, nil, usage("Set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf.", "traces leave over http/protobuf, not %s", protocol)
	}
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, nil, fail(exitFailed, "See OTEL_EXPORTER_OTLP_ENDPOINT.", "traces: %v", err)
	}
	about, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", "zeropass-server")), resource.WithFromEnv())
	if err != nil {
		return nil, nil, fail(exitFailed, "See OTEL_RESOURCE_ATTRIBUTES.", "traces: %v", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("traces did not leave", "error", err) }))
	provider := trace.NewTracerProvider(trace.WithBatcher(exporter), trace.WithResource(about))
	// Whoever asks is a stranger: its address is no attribute, and its trace no parent.
	interceptor, err := otelconnect.NewInterceptor(
		otelconnect.WithTracerProvider(provider), otelconnect.WithPropagator(propagation.TraceContext{}), otelconnect.WithoutMetrics())
	if err != nil {
		return nil, nil, err
	}
	return interceptor, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTime)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			log.Warn("traces did not leave", "error", err)
		}
	}, nil
}
