"""ONNX: conversion, costs of a graph, lower precisions, an ONNX file as teacher."""
