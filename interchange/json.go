package interchange

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A JSON value is here nil, bool, json.Number (the digits as written), string,
// []any (never nil) or map[string]any (never nil).

const (
	// depthFile is how many levels a file may have. Bitwarden's have 7.
	depthFile = 64
	// depthRest is more, because rest wraps the levels of an item in its own.
	depthRest = 4 * depthFile
)

// syntaxError is why a text is not the JSON that this package reads.
type syntaxError struct {
	line    int
	path    []string // of member names and indices
	problem string
}

func (e *syntaxError) Error() string { return fmt.Sprintf("%s (line %d)", e.problem, e.line) }

// parse reads one JSON text (RFC 8259) of at most depth levels, nothing after
// it. It refuses what encoding/json lets pass with a loss: members of one name,
// where that keeps the last, and invalid UTF-8 and lone surrogates, where it
// puts U+FFFD. For these the value is returned with the error, so that the
// caller can find the name of the item. The error is a *syntaxError and names
// no value.
func parse(text []byte, depth int) (any, error) {
	p := &parser{text: text, depth: depth, decoder: json.NewDecoder(bytes.NewReader(text))}
	p.decoder.UseNumber()
	value, err := p.value()
	if err != nil {
		return nil, p.explain(err)
	}
	end := int(p.decoder.InputOffset())
	if rest := bytes.TrimLeft(text[end:], " \t\r\n"); len(rest) > 0 {
		return nil, p.fail(len(text)-len(rest), "goes on after its end")
	}
	if p.refused != nil {
		return value, p.refused
	}
	return value, nil
}

type parser struct {
	text    []byte
	depth   int
	decoder *json.Decoder
	path    []string
	refused *syntaxError // the first loss that the decoder lets pass
}

func (p *parser) fail(offset int, problem string) *syntaxError {
	return &syntaxError{
		line:    1 + bytes.Count(p.text[:offset], []byte("\n")),
		path:    slices.Clone(p.path),
		problem: problem,
	}
}

func (p *parser) refuse(problem string) {
	if p.refused == nil {
		p.refused = p.fail(int(p.decoder.InputOffset()), problem)
	}
}

// explain replaces the decoder's error, which may cite a character of a value.
func (p *parser) explain(err error) error {
	if syntax, ok := errors.AsType[*syntaxError](err); ok {
		return syntax
	}
	offset := int(p.decoder.InputOffset())
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return p.fail(len(p.text), "ends too early")
	}
	return p.fail(offset, "is not JSON")
}

// token reads the next token and looks at the bytes of a string, of which the
// decoder shows only what it made of them.
func (p *parser) token() (json.Token, error) {
	start := p.decoder.InputOffset()
	token, err := p.decoder.Token()
	if err != nil {
		return nil, err
	}
	if _, ok := token.(string); ok {
		written := p.text[start:p.decoder.InputOffset()]
		switch {
		case !utf8.Valid(written):
			p.refuse("is not UTF-8 text")
		case loneSurrogate(written):
			p.refuse("has half of a surrogate pair, which is no character")
		}
	}
	return token, nil
}

func (p *parser) value() (any, error) {
	token, err := p.token()
	if err != nil {
		return nil, err
	}
	delimiter, ok := token.(json.Delim)
	if !ok {
		return token, nil
	}
	if len(p.path) >= p.depth {
		return nil, p.fail(int(p.decoder.InputOffset()), "has too many levels of brackets")
	}
	if delimiter == '[' {
		return p.array()
	}
	return p.object()
}

func (p *parser) array() (any, error) {
	elements := []any{}
	for p.decoder.More() {
		p.path = append(p.path, "["+strconv.Itoa(len(elements))+"]")
		element, err := p.value()
		if err != nil {
			return nil, err
		}
		p.path = p.path[:len(p.path)-1]
		elements = append(elements, element)
	}
	_, err := p.decoder.Token()
	return elements, err
}

func (p *parser) object() (any, error) {
	members := map[string]any{}
	for p.decoder.More() {
		token, err := p.token()
		if err != nil {
			return nil, err
		}
		name := token.(string) // the decoder admits nothing else before a colon
		p.path = append(p.path, name)
		_, repeated := members[name]
		if repeated {
			p.refuse("stands there twice")
		}
		value, err := p.value()
		if err != nil {
			return nil, err
		}
		p.path = p.path[:len(p.path)-1]
		if !repeated {
			members[name] = value
		}
	}
	_, err := p.decoder.Token()
	return members, err
}

// loneSurrogate reports whether a JSON string has an escape \uD800 to \uDFFF
// that is no half of a pair (RFC 8259, section 8.2).
func loneSurrogate(text []byte) bool {
	for {
		at := bytes.IndexByte(text, '\\')
		if at < 0 {
			return false
		}
		text = text[at:]
		switch unit := codeUnit(text); {
		case unit >= 0xd800 && unit < 0xdc00:
			if low := codeUnit(text[6:]); low < 0xdc00 || low > 0xdfff {
				return true
			}
			text = text[12:]
		case unit >= 0xdc00 && unit <= 0xdfff:
			return true
		default:
			text = text[2:]
		}
	}
}

// codeUnit reads an escape \uXXXX; -1 when there is none.
func codeUnit(text []byte) int64 {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return -1
	}
	unit, err := strconv.ParseUint(string(text[2:6]), 16, 16)
	if err != nil {
		return -1
	}
	return int64(unit)
}

// same reports whether two JSON values are equal; numbers are when their
// digits are.
func same(a, b any) bool { return reflect.DeepEqual(a, b) }

// compact writes a value in one line, the members in order of their names, so
// that equal values have equal texts.
func compact(v any) string {
	var text strings.Builder
	if err := encode(&text, v, ""); err != nil {
		// Values come from parse and from strings that were checked.
		panic("interchange: " + err.Error())
	}
	return strings.TrimSuffix(text.String(), "\n")
}

// encode writes a value and a line break.
func encode(w io.Writer, v any, indent string) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", indent)
	return encoder.Encode(v)
}

// names returns an object's member names in order, so that what is reported
// first does not change from run to run.
func names(object map[string]any) []string { return slices.Sorted(maps.Keys(object)) }
