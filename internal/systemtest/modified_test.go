package systemtest

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"google.golang.org/protobuf/proto"

	"zeropass.dev/zeropass/canonical"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/device"
	"zeropass.dev/zeropass/internal/server"
	"zeropass.dev/zeropass/signing"
)

// modified is the network of a server that answers one procedure with what change
// makes of the truth, and signs that with its own key.
type modified struct {
	w         *world
	key       *signing.PrivateKey
	procedure string
	change    func(answer []byte) ([]byte, error)
}

// modify returns options for a device at a server that lies about one procedure.
func modify[A any, PA interface {
	*A
	proto.Message
}](w *world, procedure string, change func(PA)) device.Options {
	o := w.options()
	o.HTTP = &http.Client{Transport: &modified{w, w.signKey(), procedure, func(b []byte) ([]byte, error) {
		answer := PA(new(A))
		if err := proto.Unmarshal(b, answer); err != nil {
			return nil, err
		}
		change(answer)
		return canonical.Marshal(answer)
	}}}
	return o
}

// lie opens a device's directory at a server that lies about one procedure.
func lie[A any, PA interface {
	*A
	proto.Message
}](p *person, procedure string, change func(PA)) {
	p.w.t.Helper()
	p.openWith(modify(p.w, procedure, change))
}

// openWith opens the directory anew, with these options.
func (p *person) openWith(o device.Options) {
	p.w.t.Helper()
	p.close()
	d, err := device.Open(context.Background(), p.dir, []byte(passphrase), o)
	if err != nil {
		p.w.t.Fatal(explained(err))
	}
	p.Device = d
}

// signKey is the server's.
func (w *world) signKey() *signing.PrivateKey {
	w.t.Helper()
	file := filepath.Join(w.t.TempDir(), "keys")
	must(w.t, server.WriteKeys(file, w.keys))
	text, err := os.ReadFile(file)
	must(w.t, err)
	_, line, _ := strings.Cut(string(text), "\nsign ")
	encoded, _, _ := strings.Cut(line, "\n")
	b, err := base64.StdEncoding.DecodeString(encoded)
	must(w.t, err)
	key, err := signing.NewPrivateKey(b)
	must(w.t, err)
	return key
}

func (m *modified) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path != m.procedure {
		return http.DefaultTransport.RoundTrip(r)
	}
	sent, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(sent))
	r.Header.Set("Accept-Encoding", "identity")
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil || response.StatusCode != http.StatusOK {
		return response, err
	}
	received, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	request, answer := &apiv1.SignedRequest{}, &apiv1.SignedAnswer{}
	err = errors.Join(err, proto.Unmarshal(sent, request), proto.Unmarshal(received, answer))
	if err != nil {
		return nil, err
	}
	parsed, err := api.ParseRequest(r.URL.Path, request)
	if err != nil {
		return nil, err
	}
	body, err := m.change(answer.Body)
	if err != nil {
		return nil, err
	}
	lie, err := api.Answer(m.key, parsed, body, m.w.now())
	if err != nil {
		return nil, err
	}
	received, err = proto.Marshal(lie)
	response.Body, response.ContentLength = io.NopCloser(bytes.NewReader(received)), int64(len(received))
	response.Header.Del("Content-Length")
	return response, err
}
