package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"

	"log"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"
)

// names is a name server for which every name is this machine.
func names(t *testing.T) (address string) {
	t.Helper()
	listener := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	ready := make(chan struct{})
	server := &dns.Server{Listener: listener, NotifyStartedFunc: func() { close(ready) }, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		answer := new(dns.Msg).SetReply(q)
		if question := q.Question[0]; question.Qtype == dns.TypeA {
			answer.Answer = []dns.RR{&dns.A{
				Hdr: dns.RR_Header{Name: question.Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(127, 0, 0, 1),
			}}
		}
		_ = w.WriteMsg(answer)
	})}
	go func() { _ = server.ActivateAndServe() }()
	<-ready
	t.Cleanup(func() { _ = server.Shutdown() })
	return listener.Addr().String()
}

// issuer is Let's Encrypt's own test server, which checks challenges at a port.
func issuer(t *testing.T, port int) (directory string, root *x509.CertPool) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	quiet := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	authority := ca.New(quiet, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {}})
	front := wfe.New(quiet, store, va.New(quiet, 0, port, true, names(t), store), authority, nil, true, false, 1, 1)
	web := httptest.NewTLSServer(front.Handler())
	t.Cleanup(web.Close)
	file := filepath.Join(dir, "issuer.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSL_CERT_FILE", file)
	root = x509.NewCertPool()
	root.AddCert(must[*x509.Certificate](t)(x509.ParseCertificate(authority.GetRootCert(0).DER)))
	return web.URL + wfe.DirectoryPath, root
}

// The server gets its certificate from an issuer that checks whose name it is, and
// has it when it starts again.
func TestACME(t *testing.T) {
	free := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	port := free.Addr().(*net.TCPAddr).Port
	_ = free.Close()
	directory, root := issuer(t, port)
	dir := t.TempDir()
	const domain = "zeropass.example"
	args := []string{
		fmt.Sprintf("--listen=127.0.0.1:%d", port), adminLoopback, "--acme-domain=" + domain, "--acme-email=operator@zeropass.example",
		"--acme-cache=" + filepath.Join(dir, "acme"), "--acme-directory=" + directory,
	}
	p := start(t, dir, args...)
	serial := func(name string) (string, error) {
		conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 20 * time.Second}, "tcp", strings.TrimPrefix(p.URL, "https://"), &tls.Config{RootCAs: root, ServerName: name})
		if err != nil {
			return "", err
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String(), nil
	}
	first, err := serial(domain)
	if err != nil {
		t.Fatalf("%v\n%s", err, p.stderr)
	}
	if _, err := serial("another.example"); err == nil {
		t.Error("there is a certificate for a name that the operator did not give")
	}
	if _, metrics := get(t, p.AdminURL+"/metrics"); !strings.Contains(metrics, "\nzeropass_certificate_expiry_timestamp_seconds ") {
		t.Error("nobody sees when it expires")
	}
	p.stop(t)
	p = start(t, dir, args...)
	if again, err := serial(domain); err != nil || again != first {
		t.Errorf("after a stop the certificate is %s (%v), not %s", again, err, first)
	}
	p.stop(t)
}
