package aead

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// Nothing that prints, logs or marshals a key, or a struct that has one
// inside, shows its bytes.
func TestKeyIsRedacted(t *testing.T) {
	key := newKey(t, bytes.Repeat([]byte{0xab}, KeySize))
	type exported struct {
		Pointer *Key
		Value   Key
	}
	type unexported struct {
		pointer *Key
		value   Key
	}
	for name, v := range map[string]any{
		"pointer":    key,
		"value":      *key,
		"exported":   exported{key, *key},
		"unexported": unexported{key, *key},
		"map":        map[string]*Key{"key": key},
		"slice":      []Key{*key},
		"interface":  []any{key, *key},
	} {
		t.Run(name, func(t *testing.T) {
			var texts []string
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%q", "%d", "%b", "%o"} {
				texts = append(texts, fmt.Sprintf(verb, v))
			}
			marshalled, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			slog.New(slog.NewTextHandler(&log, nil)).Info("message", "key", v)
			slog.New(slog.NewJSONHandler(&log, nil)).Info("message", "key", v)
			texts = append(texts, string(marshalled), log.String())
			for _, text := range texts {
				for _, leak := range []string{"abababab", "ABABABAB", "171 171", "171,171", "253 253", "10101011 10101011", "q6urq6ur", "0xab, 0xab"} {
					if strings.Contains(text, leak) {
						t.Errorf("%s shows %s", text, leak)
					}
				}
				if name != "unexported" && !strings.Contains(text, "[secret]") {
					t.Errorf("%s does not say [secret]", text)
				}
			}
		})
	}
}

func TestKeyText(t *testing.T) {
	key := newKey(t, bytes.Repeat([]byte{0xab}, KeySize))
	text, err := key.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range []string{key.String(), key.GoString(), key.LogValue().String(), string(text)} {
		if got != "[secret]" {
			t.Errorf("got %s", got)
		}
	}
}
