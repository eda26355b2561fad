package main

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"

	"github.com/rogpeppe/go-internal/testscript"

	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
)

// deaf: SERVER is reached through a proxy that lets no stream of hints through.
func cmdDeaf(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: deaf")
	}
	to, err := url.Parse(ts.Getenv("SERVER"))
	ts.Check(err)
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
	mux := http.NewServeMux()
	mux.Handle("/", proxy)
	mux.HandleFunc(apiv1connect.ServerServiceWatchProcedure, func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no streams here", http.StatusBadGateway)
	})
	s := httptest.NewServer(mux)
	ts.Defer(s.Close)
	ts.Setenv("SERVER", s.URL)
}
