package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"net/http"
	"strings"
	"testing"

	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/client"
)

// saying is a client whose requests have a header, as a proxy's have.
type saying struct{ name, value string }

func (s saying) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set(s.name, s.value)
	return http.DefaultTransport.RoundTrip(r)
}

// limited says whether a server limits what comes with a header.
func limited(t *testing.T, url, name, value string) bool {
	t.Helper()
	h := &http.Client{Transport: saying{name, value}}
	for range 600 {
		_, err := client.Identify(t.Context(), h, url, rand.Reader)
		if err == nil {
			continue
		}
		// Without the keys nobody can read a refusal: it says that too much was asked.
		if strings.Contains(err.Error(), api.ErrRateLimited.Error()) {
			return true
		}
		t.Fatal(err)
	}
	return false
}

// Behind a proxy each device has its own limit; nobody gets around it, or uses up
// another's, with what he writes himself.
func TestTrustedProxy(t *testing.T) {
	behind := start(t, t.TempDir(), loopback, "--trusted-proxy", "127.0.0.1", "--trusted-proxy-header", "x-forwarded-for")
	if !limited(t, behind.URL, "X-Forwarded-For", "203.0.113.7") {
		t.Error("a device behind a trusted proxy may ask without end")
	}
	for name, value := range map[string]string{"this machine": "127.0.0.1, 203.0.113.7", "another device": "203.0.113.8, 203.0.113.7"} {
		_, err := client.Identify(t.Context(), &http.Client{Transport: saying{"X-Forwarded-For", value}}, behind.URL, rand.Reader)
		if err == nil || !strings.Contains(err.Error(), api.ErrRateLimited.Error()) {
			t.Errorf("a device that says that it is %s: %v", name, err)
		}
	}
	if _, err := client.Identify(t.Context(), &http.Client{Transport: saying{"X-Forwarded-For", "203.0.113.8"}}, behind.URL, rand.Reader); err != nil {
		t.Errorf("another device: %v", err)
	}
	behind.stop(t)
	if bytes.Contains(behind.stderr.Bytes(), []byte("no proxy is trusted")) {
		t.Error("a server that trusts a proxy warns that it trusts none")
	}

	elsewhere := start(t, t.TempDir(), loopback, "--trusted-proxy", "10.0.0.0/8", "--trusted-proxy-header", "forwarded")
	if limited(t, elsewhere.URL, "Forwarded", "for=203.0.113.7") {
		t.Error("this machine's word counts, and it is no trusted proxy")
	}
	elsewhere.stop(t)

	alone := start(t, t.TempDir(), loopback)
	alone.stop(t)
	if !bytes.Contains(alone.stderr.Bytes(), []byte("no proxy is trusted")) {
		t.Errorf("a server behind nobody does not say so:\n%s", alone.stderr)
	}
}

func TestProxyOptions(t *testing.T) {
	for name, c := range map[string]struct {
		trusted []string
		header  string
		want    string // in the error; empty for none
	}{
		"none":              {nil, "none", ""},
		"both":              {[]string{"127.0.0.1", "::1", "10.0.0.0/8", "2001:db8::/32"}, "forwarded", ""},
		"no header":         {[]string{"127.0.0.1"}, "none", "belong together"},
		"no proxy":          {nil, "x-forwarded-for", "belong together"},
		"everybody":         {[]string{"0.0.0.0/0"}, "forwarded", "everybody"},
		"everybody on IPv6": {[]string{"::/0"}, "forwarded", "everybody"},
		"a name":            {[]string{"proxy.example"}, "forwarded", "not an address"},
		"a zone":            {[]string{"fe80::1%eth0"}, "forwarded", "not an address"},
	} {
		o := proxyOptions{trusted: c.trusted}
		if err := o.header.Set(c.header); err != nil {
			t.Fatal(err)
		}
		p, err := o.proxies()
		if c.want == "" && (err != nil || len(p.Trusted) != len(c.trusted)) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, %v", name, p, err)
		}
	}
	if err := new(proxyHeader).Set("x-real-ip"); !errors.Is(err, errValue) {
		t.Errorf("an unknown header: %v", err)
	}
}
