package memory

import (
	"fmt"
	"testing"
)

func TestPage(t *testing.T) {
	p, err := NewPage()
	if err != nil {
		t.Fatal(err)
	}
	copy(p.Bytes(), "a secret")
	if got := fmt.Sprintf("%v %+v %s %x", p, p, p, p); got != "[secret] [secret] [secret] [secret]" {
		t.Errorf("printed as %q", got)
	}
	p.Erase()
	p.Erase()
	if p.Bytes() != nil {
		t.Error("an erased page has bytes")
	}
}

// Do returns also when f panics, and has overwritten the stack then.
func TestDo(t *testing.T) {
	ran := 0
	func() {
		defer func() {
			if recover() != "stop" {
				t.Error("the panic was lost")
			}
		}()
		Do(func() { ran++; panic("stop") })
	}()
	Do(func() { ran++ })
	if ran != 2 {
		t.Errorf("f ran %d times, not 2", ran)
	}
}
