package server

import (
	"log/slog"
	"net/http"
	"time"

	"connectrpc.com/connect"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
)

// Handler returns the HTTP side of the server: the procedures of the API and
// nothing else.
func (s *Server) Handler() http.Handler {
	options := connect.WithHandlerOptions(
		connect.WithInterceptors(s.interceptors()...),
		connect.WithRecover(s.recovered),
		// Keys, signatures and ciphertext do not shrink, and what is small on the way
		// is small in memory.
		connect.WithCompression("gzip", nil, nil),
		connect.WithConditionalHandlerOptions(func(spec connect.Spec) []connect.HandlerOption {
			return []connect.HandlerOption{connect.WithReadMaxBytes(messageLimit(spec.Procedure))}
		}),
	)
	mux := http.NewServeMux()
	mux.Handle(apiv1connect.NewServerServiceHandler(service{s: s}, options))
	// Not by way of the handler of all procedures: with that on top, the stacks of
	// idle streams would be twice as large.
	watch := apiv1.File_zeropass_api_v1_service_proto.Services().ByName("ServerService").Methods().ByName("Watch")
	mux.Handle(apiv1connect.ServerServiceWatchProcedure, connect.NewServerStreamHandler(
		apiv1connect.ServerServiceWatchProcedure, service{s: s}.Watch, connect.WithSchema(watch), options))
	return s.observed(s.limited(mux))
}

// NewHTTPServer returns a server of the handler that no slow or silent client
// holds up for long, nor many of them. It speaks HTTP/1.1 and HTTP/2, without TLS too
// (prior knowledge, RFC 9113 section 3.3).
func NewHTTPServer(handler http.Handler, log *slog.Logger) *http.Server {
	return Proxies{}.NewHTTPServer(handler, log)
}

// NewHTTPServer is the function of that name for a server that proxies ask for others:
// what one remote may do does not bind them.
func (p Proxies) NewHTTPServer(handler http.Handler, log *slog.Logger) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           p.Handler(handler),
		Protocols:         protocols,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       2 * time.Minute, // 48 MiB at 3 Mbit/s
		WriteTimeout:      5 * time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: 256, // as many as one remote may have
			SendPingTimeout:      30 * time.Second,
			PingTimeout:          15 * time.Second,
			WriteByteTimeout:     20 * time.Second,
		},
		ConnState: newConnections(connectionLimit(), p).changed,
		ErrorLog:  slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}
