package main

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"
	"rsc.io/qr"
)

// quietZone is how many light modules surround a QR code (ISO/IEC 18004,
// section 5.3.8, asks for 4). Screens have no ink that bleeds; two are enough
// for cameras, and the code fits into more terminals.
const quietZone = 2

// printQR draws a QR code with half blocks, two modules to a character. On a
// terminal the colours are set, so that dark is dark whatever its theme; in a
// pipe the light modules are the drawn ones, for the usual dark screen.
func (a *app) printQR(text string) error {
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		return fmt.Errorf("drawing the QR code: %w", err)
	}
	terminal := term.IsTerminal(int(a.out.Fd()))
	if width := a.width(); width > 0 && width < code.Size+2*quietZone {
		a.say("(The QR code needs a terminal that is %d characters wide; this one has %d.)", code.Size+2*quietZone, width)
		return nil
	}
	_, err = fmt.Fprint(a.out, drawQR(code, terminal && os.Getenv("NO_COLOR") == ""))
	return err
}

func drawQR(code *qr.Code, colors bool) string {
	var out strings.Builder
	light := func(x, y int) bool { return y < code.Size+quietZone && !code.Black(x, y) }
	for y := -quietZone; y < code.Size+quietZone; y += 2 {
		if colors {
			out.WriteString("\x1b[38;5;231;48;5;16m") // white and black of the fixed 256 colours
		}
		for x := -quietZone; x < code.Size+quietZone; x++ {
			switch upper, lower := light(x, y), light(x, y+1); {
			case upper && lower:
				out.WriteRune('█')
			case upper:
				out.WriteRune('▀')
			case lower:
				out.WriteRune('▄')
			default:
				out.WriteRune(' ')
			}
		}
		if colors {
			out.WriteString("\x1b[0m")
		}
		out.WriteByte('\n')
	}
	return out.String()
}
