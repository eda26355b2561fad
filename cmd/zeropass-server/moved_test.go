package main

import (
	"crypto/rand"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"zeropass.dev/zeropass/internal/client"
)

// Where the server has moved from it is watched and reloaded as any other, and opens
// no data.
func TestMovedServerIsServed(t *testing.T) {
	dir := t.TempDir()
	start(t, dir, loopback).stop(t)
	certificate(t, dir)
	for _, more := range [][]string{nil, {"--tls-cert", filepath.Join(dir, "cert.pem"), "--tls-key", filepath.Join(dir, "key.pem")}} {
		p := startOver(t, append([]string{"--key-file", filepath.Join(dir, "keys"), "--moved-to", "https://new.example", loopback, adminLoopback}, more...)...)
		if p.MovedTo != "https://new.example" {
			t.Errorf("it says %+v", p.readyLine)
		}
		if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		for until := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			code, metrics := get(t, p.AdminURL+"/metrics")
			ready, expires := strings.Contains(metrics, "\nzeropass_ready 1\n"), strings.Contains(metrics, "\nzeropass_certificate_expiry_timestamp_seconds ")
			if code == http.StatusOK && ready && expires == (more != nil) && !strings.Contains(metrics, "zeropass_accounts") {
				break
			}
			if time.Now().After(until) {
				t.Fatalf("%d %s", code, metrics)
			}
		}
		if more == nil {
			if _, err := client.Identify(t.Context(), nil, p.URL, rand.Reader); err == nil || !strings.Contains(err.Error(), p.MovedTo) {
				t.Errorf("devices are told %v", err)
			}
		}
		p.stop(t)
		if !strings.Contains(p.stderr.String(), "looked at the key file") {
			t.Errorf("after SIGHUP: %s", p.stderr)
		}
	}
}
