package client

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"connectrpc.com/connect"

	"zeropass.dev/zeropass/canonical"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/signing"
)

// answering is a server that answers SeedHalf as a test says.
type answering struct {
	apiv1connect.UnimplementedServerServiceHandler
	key      *signing.PrivateKey
	seal     *hpke.PrivateKey
	seedHalf func(*api.Request) (*apiv1.SignedAnswer, error)
	identify func(*apiv1.IdentifyRequest) *apiv1.IdentifyAnswer
}

func (s *answering) SeedHalf(_ context.Context, r *connect.Request[apiv1.SignedRequest]) (*connect.Response[apiv1.SignedAnswer], error) {
	request, err := api.ParseRequest(apiv1connect.ServerServiceSeedHalfProcedure, r.Msg)
	if err != nil {
		return nil, err
	}
	answer, err := s.seedHalf(request)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(answer), nil
}

func (s *answering) Identify(_ context.Context, r *connect.Request[apiv1.IdentifyRequest]) (*connect.Response[apiv1.IdentifyAnswer], error) {
	return connect.NewResponse(s.identify(r.Msg)), nil
}

func (s *answering) answer(key *signing.PrivateKey, r *api.Request, sealed string) *apiv1.SignedAnswer {
	body, err := canonical.Marshal(&apiv1.SeedHalfAnswer{Sealed: []byte(sealed), Sources: []string{"os"}})
	if err != nil {
		panic(err)
	}
	a, err := api.Answer(key, r, body, time.Now())
	if err != nil {
		panic(err)
	}
	return a
}

func newKey(t *testing.T) *signing.PrivateKey {
	t.Helper()
	key, err := signing.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newSeal(t *testing.T) *hpke.PrivateKey {
	t.Helper()
	key, err := hpke.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func start(t *testing.T) (*answering, string) {
	t.Helper()
	s := &answering{key: newKey(t), seal: newSeal(t)}
	_, handler := apiv1connect.NewServerServiceHandler(s)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return s, server.URL
}

func ask(t *testing.T, url string, server *signing.PublicKey) (*apiv1.SeedHalfAnswer, error) {
	t.Helper()
	c, err := New(nil, url, server, rand.Reader, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return c.SeedHalf(context.Background(), api.Identity{Key: newKey(t)}, &apiv1.SeedHalfRequest{Nonce: make([]byte, api.NonceSize)})
}

func TestOnlyTheServersOwnAnswerIsBelieved(t *testing.T) {
	s, url := start(t)
	other := newKey(t)
	var earlier *apiv1.SignedAnswer
	for name, c := range map[string]struct {
		answer func(*api.Request) (*apiv1.SignedAnswer, error)
		want   error // nil for an answer that is believed
	}{
		"honest":      {func(r *api.Request) (*apiv1.SignedAnswer, error) { return s.answer(s.key, r, "half"), nil }, nil},
		"another key": {func(r *api.Request) (*apiv1.SignedAnswer, error) { return s.answer(other, r, "half"), nil }, ErrDishonest},
		"replayed":    {func(*api.Request) (*apiv1.SignedAnswer, error) { return earlier, nil }, ErrDishonest},
		"changed body": {func(r *api.Request) (*apiv1.SignedAnswer, error) {
			a := s.answer(s.key, r, "half")
			a.Body = append(a.Body, 0)
			return a, nil
		}, ErrDishonest},
		"changed header": {func(r *api.Request) (*apiv1.SignedAnswer, error) {
			a := s.answer(s.key, r, "half")
			a.Header[3] ^= 1
			return a, nil
		}, ErrDishonest},
		"empty": {func(*api.Request) (*apiv1.SignedAnswer, error) { return &apiv1.SignedAnswer{}, nil }, ErrDishonest},
		"signed refusal": {func(r *api.Request) (*apiv1.SignedAnswer, error) {
			return nil, api.Refuse(api.ErrDeviceLocked, "unlock it").Connect(s.key, r, time.Now())
		}, api.ErrDeviceLocked},
		"refusal by somebody else": {func(r *api.Request) (*apiv1.SignedAnswer, error) {
			return nil, api.Refuse(api.ErrDeviceLocked, "unlock it").Connect(other, r, time.Now())
		}, ErrDishonest},
		"busy without a word": {func(*api.Request) (*apiv1.SignedAnswer, error) {
			return nil, connect.NewError(connect.CodeUnavailable, errors.New("busy"))
		}, ErrUnreachable},
		"an error that is not the protocol's": {func(*api.Request) (*apiv1.SignedAnswer, error) {
			return nil, connect.NewError(connect.CodeInternal, errors.New("panic"))
		}, ErrDishonest},
	} {
		t.Run(name, func(t *testing.T) {
			s.seedHalf = func(r *api.Request) (*apiv1.SignedAnswer, error) {
				earlier = s.answer(s.key, r, "earlier")
				return earlier, nil
			}
			if _, err := ask(t, url, s.key.PublicKey()); err != nil {
				t.Fatal(err)
			}
			s.seedHalf = c.answer
			a, err := ask(t, url, s.key.PublicKey())
			if c.want == nil {
				if err != nil || string(a.Sealed) != "half" {
					t.Fatalf("%v, %v", a, err)
				}
				return
			}
			if a != nil || !errors.Is(err, c.want) {
				t.Fatalf("%v, %v, want %v", a, err, c.want)
			}
		})
	}
}

func TestAnUnsignedRefusalIsNotTheServersWord(t *testing.T) {
	s, url := start(t)
	s.seedHalf = func(*api.Request) (*apiv1.SignedAnswer, error) {
		return nil, api.Refuse(api.ErrBadSignature, "who are you").Connect(s.key, nil, time.Now())
	}
	_, err := ask(t, url, s.key.PublicKey())
	var refusal *api.Refusal
	if !errors.As(err, &refusal) || refusal.Signed {
		t.Fatalf("%v", err)
	}
}

func TestWhatIsNoServer(t *testing.T) {
	key := newKey(t).PublicKey()
	html := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(code)
			_, _ = w.Write([]byte("<html>hello</html>"))
		}
	}
	elsewhere := httptest.NewServer(html(http.StatusOK))
	defer elsewhere.Close()
	for name, c := range map[string]struct {
		handler http.Handler
		want    error
	}{
		"a web page":          {html(http.StatusOK), ErrDishonest},
		"nothing there":       {html(http.StatusNotFound), ErrDishonest},
		"an internal error":   {html(http.StatusInternalServerError), ErrDishonest},
		"a proxy without one": {html(http.StatusBadGateway), ErrUnreachable},
		"garbage": {http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/proto")
			_, _ = w.Write([]byte{0xff, 0xff, 0xff})
		}), ErrDishonest},
		"a redirect": {http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect), ErrDishonest},
		"a line that is cut": {http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			panic(http.ErrAbortHandler)
		}), ErrUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(c.handler)
			defer server.Close()
			if _, err := ask(t, server.URL, key); !errors.Is(err, c.want) {
				t.Errorf("call: %v, want %v", err, c.want)
			}
			if _, err := Identify(context.Background(), nil, server.URL, rand.Reader); !errors.Is(err, c.want) {
				t.Errorf("identify: %v, want %v", err, c.want)
			}
		})
	}
	server := httptest.NewServer(html(http.StatusOK))
	server.Close()
	if _, err := ask(t, server.URL, key); !errors.Is(err, ErrUnreachable) {
		t.Errorf("a server that is gone: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Identify(ctx, nil, elsewhere.URL, rand.Reader); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
}

func TestIdentify(t *testing.T) {
	s, url := start(t)
	s.identify = func(r *apiv1.IdentifyRequest) *apiv1.IdentifyAnswer {
		return api.SignIdentity(s.key, s.seal.PublicKey(), r.Nonce, "", time.Now())
	}
	server, err := Identify(context.Background(), nil, url+"/", rand.Reader)
	if err != nil || server.Url != url || string(server.SignKey) != string(s.key.PublicKey().Bytes()) || string(server.SealKey) != string(s.seal.PublicKey().Bytes()) {
		t.Fatalf("%v, %v", server, err)
	}
	for name, change := range map[string]func(*apiv1.IdentifyAnswer){
		"another sign key": func(a *apiv1.IdentifyAnswer) { a.SignKey = newKey(t).PublicKey().Bytes() },
		"another seal key": func(a *apiv1.IdentifyAnswer) { a.SealKey = newKey(t).PublicKey().Bytes() },
		"no key":           func(a *apiv1.IdentifyAnswer) { a.SignKey = nil },
		"another time":     func(a *apiv1.IdentifyAnswer) { a.Time++ },
		"an old answer": func(a *apiv1.IdentifyAnswer) {
			a.Signature = api.SignIdentity(s.key, s.seal.PublicKey(), make([]byte, api.NonceSize), "", time.Now()).Signature
		},
	} {
		s.identify = func(r *apiv1.IdentifyRequest) *apiv1.IdentifyAnswer {
			a := api.SignIdentity(s.key, s.seal.PublicKey(), r.Nonce, "", time.Now())
			change(a)
			return a
		}
		if server, err := Identify(context.Background(), nil, url, rand.Reader); server != nil || !errors.Is(err, ErrDishonest) {
			t.Errorf("%s: %v, %v", name, server, err)
		}
	}
}

func TestCheckURL(t *testing.T) {
	for address, ok := range map[string]bool{
		"https://zeropass.example":      true,
		"https://zeropass.example:8443": true,
		"https://zeropass.example/path": true,
		"http://127.0.0.1:8080":         true,
		"http://localhost:8080":         true,
		"http://[::1]:8080":             true,
		"http://zeropass.example":       false,
		"http://192.168.1.1":            false,
		"http://127.0.0.1.example":      false,
		"https://user:pw@example":       false,
		"https://example/?q=1":          false,
		"https://example/#f":            false,
		"https://":                      false,
		"ftp://example":                 false,
		"zeropass.example":              false,
		"":                              false,
		"https://exa mple":              false,
	} {
		if err := CheckURL(address); (err == nil) != ok {
			t.Errorf("%q: %v", address, err)
		} else if err != nil && !errors.Is(err, ErrURL) {
			t.Errorf("%q: %v is no ErrURL", address, err)
		}
	}
}
