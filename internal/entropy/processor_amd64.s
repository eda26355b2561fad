#include "textflag.h"

// func readProcessor() (value uint64, ok bool)
TEXT ·readProcessor(SB), NOSPLIT, $0-9
	RDSEEDQ AX
	SETCS   ok+8(FP)
	MOVQ    AX, value+0(FP)
	RET
