// What a function relies on, said in words: checked where NDEBUG is not defined, and nothing elsewhere.
#pragma once
#ifdef NDEBUG
#define DEPTHWISE_REQUIRE(condition, what) static_cast<void>(sizeof(!(condition)))
#else
#include <cassert>
#define DEPTHWISE_REQUIRE(condition, what) assert((condition) && what)
#endif
