package systemtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"zeropass.dev/zeropass/internal/device"
	"zeropass.dev/zeropass/internal/server"
)

// tamper is a network that gives what change makes of each answer.
type tamper struct {
	change func(path string, response *http.Response, body []byte) []byte
}

func (n *tamper) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err != nil {
		return nil, err
	}
	body = n.change(r.URL.Path, response, body)
	response.Body, response.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	response.Header.Del("Content-Length")
	return response, nil
}

func TestADishonestNetworkIsNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	ann := w.person("ann", nil)
	ann.add("site", "secret")
	ann.close()
	first := map[string][]byte{}
	networks := map[string]func(string, *http.Response, []byte) []byte{
		"replays": func(path string, _ *http.Response, body []byte) []byte {
			if old, ok := first[path]; ok {
				return old
			}
			first[path] = body
			return body
		},
		"garbage": func(_ string, response *http.Response, _ []byte) []byte {
			response.Header.Del("Content-Encoding")
			return []byte("no protocol at all")
		},
		"web page": func(_ string, response *http.Response, _ []byte) []byte {
			response.Header.Set("Content-Type", "text/html")
			response.Header.Del("Content-Encoding")
			return []byte("<html>log in to this network first</html>")
		},
	}
	for name, change := range networks {
		t.Run(name, func(t *testing.T) {
			o := w.options()
			o.HTTP = &http.Client{Transport: &tamper{change}}
			d, err := device.Open(ctx, ann.dir, []byte(passphrase), o)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = d.Close() }()
			_, err = d.Sync(ctx)
			if name == "replays" { // the first time nothing is old yet
				_, err = d.Sync(ctx)
			}
			wantCode(t, err, device.CodeDishonest)
			if name == "replays" {
				if _, err := d.Get(ctx, "site"); err != nil {
					t.Fatal(explained(err)) // the first answer to Reveal is honest
				}
			}
			_, err = d.Get(ctx, "site")
			wantCode(t, err, device.CodeDishonest)
			r, err := d.Add(ctx, login("kept "+name, "x"))
			if err != nil || name != "replays" && r.Accepted {
				t.Fatalf("%+v, %v", r, err)
			}
		})
	}
	// Nothing was lost meanwhile.
	ann.reopen()
	ann.sync()
	for name := range networks {
		ann.wantSecret("kept "+name, "x")
	}
}

func TestAnotherServerAtTheSameAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	ann := w.person("ann", nil)
	ann.add("site", "secret")
	w.stopServer()
	keys, err := server.GenerateKeys(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w.keys = keys
	if err := os.Remove(w.database()); err != nil {
		t.Fatal(err)
	}
	w.start()
	_, err = ann.Sync(ctx)
	wantCode(t, err, device.CodeDishonest)
	_, err = ann.Get(ctx, "site")
	wantCode(t, err, device.CodeDishonest)
}

func TestInitThatCannotBe(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	w.person("ann", nil)
	good := func() device.InitOptions {
		return device.InitOptions{
			Dir: filepath.Join(t.TempDir(), "home"), ServerURL: w.url(), Name: "bob", UnlockCost: 1,
			Passphrase: []byte(passphrase), ConfirmPassphrase: []byte(confirmPassphrase),
		}
	}
	for name, c := range map[string]struct {
		change func(*device.InitOptions)
		code   device.Code
	}{
		"name taken":       {func(i *device.InitOptions) { i.Name = "Ann" }, device.CodeRefused},
		"no name":          {func(i *device.InitOptions) { i.Name = "" }, device.CodeUsage},
		"same passphrases": {func(i *device.InitOptions) { i.ConfirmPassphrase = i.Passphrase }, device.CodeUsage},
		"empty passphrase": {func(i *device.InitOptions) { i.Passphrase = nil }, device.CodeUsage},
		"1 of 2":           {func(i *device.InitOptions) { i.Quorum, i.Members = 1, 2 }, device.CodeUsage},
		"3 of 2":           {func(i *device.InitOptions) { i.Quorum, i.Members = 3, 2 }, device.CodeUsage},
		"half a second":    {func(i *device.InitOptions) { i.WaitingPeriod = 5e8 }, device.CodeUsage},
		"plain http":       {func(i *device.InitOptions) { i.ServerURL = "http://zeropass.example" }, device.CodeUsage},
		"nobody there":     {func(i *device.InitOptions) { i.ServerURL = "http://127.0.0.1:1" }, device.CodeUnreachable},
		"something there": {func(i *device.InitOptions) {
			if err := os.MkdirAll(i.Dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(i.Dir, "file"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, device.CodeHome},
	} {
		t.Run(name, func(t *testing.T) {
			i := good()
			c.change(&i)
			d, _, err := device.Init(ctx, w.options(), i)
			if err == nil {
				_ = d.Close()
			}
			wantCode(t, err, c.code)
			if _, err := os.Stat(i.Dir); err == nil && name != "something there" {
				t.Error("a directory is left")
			}
		})
	}
	i := good()
	d, _, err := device.Init(ctx, w.options(), i)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	_, _, err = device.Init(ctx, w.options(), i)
	wantCode(t, err, device.CodeHome)
}
