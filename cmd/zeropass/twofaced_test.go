package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/protobuf/proto"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
)

// twofaced NAME DEVICE=OTHER...: where the server NAME was, there is one that shows
// each of these devices what the server OTHER has, and everybody else what the
// first of them has. All have NAME's keys: start them on copies of its data and of
// its key file.
func cmdTwoFaced(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: twofaced NAME DEVICE=OTHER...")
	}
	servers := ts.Value(serversKey{}).(map[string]*server)
	var first *url.URL
	shown := map[uint64]*url.URL{}
	for _, arg := range args[1:] {
		number, name, _ := strings.Cut(arg, "=")
		n, err := strconv.ParseUint(number, 10, 64)
		ts.Check(err)
		to, err := url.Parse(servers[name].url)
		ts.Check(err)
		if shown[n] = to; first == nil {
			first = to
		}
	}
	listener, err := net.Listen("tcp", strings.TrimPrefix(servers[args[0]].url, "http://"))
	ts.Check(err)
	h := &http.Server{Handler: &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		to := first
		if n, err := deviceOf(r.Out); err == nil && shown[n] != nil {
			to = shown[n]
		}
		r.SetURL(to)
	}}}
	go func() { _ = h.Serve(listener) }()
	ts.Defer(func() { _ = h.Close() })
}

// deviceOf reads which device asks, and leaves the request as it was.
func deviceOf(r *http.Request) (uint64, error) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return 0, err
	}
	r.Body = io.NopCloser(bytes.NewReader(b))
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" {
		return 0, fmt.Errorf("encoded as %s", encoding)
	}
	request, header := &apiv1.SignedRequest{}, &apiv1.RequestHeader{}
	if err := proto.Unmarshal(b, request); err != nil {
		return 0, err
	}
	err = proto.Unmarshal(request.Header, header)
	return header.Device, err
}
